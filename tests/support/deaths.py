"""Runs that die: a process that ends, or an error of the disk, at a chosen write, rename or other change."""

from __future__ import annotations

import os
import pathlib
import traceback
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cuslayer.data import Events, write_events
from cuslayer.layers import BatchNorm, Delay, Dense, Dropout, Recurrent, WeightNorm
from cuslayer.neurons import CUBA, SRM
from cuslayer.training import Config, Named, load_checkpoint
from cuslayer.training.optimizer import OptimizerConfig

# The functions of the system by which a run changes the disk.
CALLS = ("mkdir", "open", "ftruncate", "write", "fsync", "replace", "unlink")
_DEAD = 99


class Disk:
    """Counts what a run changes in its folder, and calls `happens` at change number `at`, from 0.

    A change is a call of the system, or the first write to a file that was opened, of which only a part is written
    before `happens`. What others, such as a compiler's cache, write elsewhere does not count.
    """

    def __init__(self, folder: pathlib.Path, at: int | None = None, happens: Callable[[], Any] = lambda: None) -> None:
        self._folder, self._at, self._happens = str(folder), at, happens
        self.changes: list[str] = []

    def change(self, name: str) -> None:
        self.changes.append(name)
        if len(self.changes) - 1 == self._at:
            self._happens()

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Count the changes of this process."""
        for name in CALLS:
            monkeypatch.setattr(os, name, self._counted(name, getattr(os, name)))
        opened = pathlib.Path.open

        def open_file(path: pathlib.Path, mode: str = "r", *more: Any, **options: Any) -> Any:
            if ("x" not in mode and "w" not in mode) or not self._is_in(path):
                return opened(path, mode, *more, **options)
            self.change(f"create {path.name.split('.')[1]}")
            return _File(opened(path, mode, *more, **options), self)

        monkeypatch.setattr(pathlib.Path, "open", open_file)

    def _is_in(self, path: Any) -> bool:
        return os.fspath(path).startswith(self._folder)

    def _counted(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            # A number is that of a file that is open.
            if isinstance(arguments[0], int) or self._is_in(arguments[0]):
                self.change(name)
            return real(*arguments, **options)

        return call


class _File:
    """A file whose first write is a change."""

    def __init__(self, file: Any, disk: Disk) -> None:
        self._file, self._disk, self._written = file, disk, False

    def write(self, content: Any) -> int:
        if not self._written:
            self._written = True
            half = len(content) // 2
            self._file.write(content[:half])
            self._file.flush()
            self._disk.change("write a part")
            self._file.write(content[half:])
            return len(content)
        return int(self._file.write(content))

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *problem: Any) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def dies(work: Callable[[], Any], folder: pathlib.Path, at: int) -> bool:
    """Run some work in a process that ends at a change of a folder; return whether there was such a change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that other threads of this process do not go on in a fork
        child = os.fork()
    if child == 0:
        code = 1
        try:
            with pytest.MonkeyPatch.context() as patch:
                Disk(folder, at, lambda: os._exit(_DEAD)).patch(patch)
                work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, _DEAD), "the run failed before it died"
    return code == _DEAD


def tiny(folder: pathlib.Path, **options: Any) -> Config:
    """Return the configuration of a run of two epochs of two steps, whose recordings are in a folder."""
    data = folder / "data"
    if not data.exists():
        rng = np.random.default_rng(5)
        data.mkdir()
        for number in range(6):
            t, x, y, p = rng.uniform(0, 8, 20), *rng.integers(6, size=(2, 20)), rng.integers(2, size=20)
            write_events(data / f"{number}.bs2", Events(t, x, y, p))
        (data / "train.txt").write_text("".join(f"{number} {number % 2}\n" for number in range(4)))
        (data / "test.txt").write_text("4 1\n5 0\n")
    optimizer = OptimizerConfig("SGD", lr=0.05, momentum=0.9, schedule="step", every=1, factor=0.5)
    given: dict[str, Any] = {"duration": 8.0, "layers": ("6x6x2", "4", "2"), "epochs": 2}
    given["error"] = Named("SpikeCountLoss", {"true": 4.0, "false": 1.0})
    given |= {
        "error": Named("SpikeCountLoss", {"true": 4.0, "false": 1.0}),
        "initialization": "slayer",
        "batch": 2,
        "checkpoint_steps": 1,
    }
    given["error"] = Named("SpikeCountLoss", {"true": 4.0, "false": 1.0})
    given |= {"neuron": SRM(theta=1.0, tau_sr=4.0), "optimizer": optimizer, "data": str(data)}
    return Config(**{**given, **options})


def with_every_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the networks of configurations layers of every kind that a step changes, or that draw or remember."""
    make = Config.network

    def network(self: Config) -> Any:
        net = make(self)
        neuron = net.layers[1]
        net.layers[:] = [
            Dense((6, 6, 2), 4, weight_hook=WeightNorm(), bias=True),
            BatchNorm(4, trained=True, height=2.0),
            neuron,
            Dropout(0.3),
            Delay((4,), dt=neuron.dt),
            Dense(4, 2),
            Recurrent(Dense(2, 2), CUBA(tau_i=2.0, tau_v=4.0, trained=True)),
        ]
        return net

    monkeypatch.setattr(Config, "network", network)


def results(out: pathlib.Path) -> dict[str, Any]:
    """Return all that a run has computed, as bytes: statistics but for the seconds, weights, the optimizer's state."""
    found: dict[str, Any] = {}
    for name in ("checkpoint.npz", "best.npz"):
        checkpoint = load_checkpoint(out / name)
        arrays = {**checkpoint.network, **{f"optimizer {n}": a for n, a in checkpoint.optimizer.items()}}
        found[name] = checkpoint.epoch, checkpoint.batches, checkpoint.generator
        found |= {f"{name} {key}": a.tobytes() for key, a in arrays.items()}
        found[f"{name} rows"] = [vars(replace(row, seconds=0)) for row in checkpoint.record.rows]
    found["metrics.csv"] = [line.rsplit(",", 1)[0] for line in (out / "metrics.csv").read_text().splitlines()]
    found["gradients.csv"] = (out / "gradients.csv").read_text()
    # A lock that could not be removed is that of no process.
    found["files"] = sorted(p.name for p in out.iterdir() if p.name != "lock")
    return found
