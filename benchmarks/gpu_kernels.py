"""Stage 3 of benchmarks/gpu.py: the time of each own kernel against the bytes that it must move.

First every launch of a training step is recorded with its arguments, and then repeated by itself: arrays of that size
may stay in the L2 cache, which in a step they do only in part. Then each kernel of the library is launched on arrays of
at least twice the L2 cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import gpu_launches
import traffic
from example_networks import prepared
from gpu_speed import copy, large
from gpu_stages import Run

from cuslayer.kernels.cuda import compile as source
from cuslayer.training.steps import PlainStep


@dataclass
class Launched:
    """A launch.

    Attributes:
        kernel: the kernel's name.
        bytes: the bytes of the arrays that it reads and writes, each once.
        again: launches it again with the same arguments.
    """

    kernel: str
    bytes: int
    again: Any


class Recorder(source.Cuda):
    """CUDA; `launches` lists the launches of the library's kernels while `on`."""

    def __init__(self) -> None:
        self.launches: list[Launched] = []
        self.on = False

    def build(self, text: str, names: Iterable[str]) -> Mapping[str, source.Launch]:
        signatures = source.signatures(text)
        return {name: _Noted(self, name, signatures[name], run) for name, run in super().build(text, names).items()}


class _Noted:
    """A compiled kernel, each launch of which is listed."""

    def __init__(self, recorder: Recorder, name: str, parameters: list[source.Parameter], launch: source.Launch):
        self._recorder, self._name, self._parameters, self._launch = recorder, name, parameters, launch

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        return self._launch.max_dynamic_shared_size_bytes

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size: int) -> None:
        self._launch.max_dynamic_shared_size_bytes = size

    def __call__(self, grid: Any, block: Any, arguments: tuple[Any, ...], *, shared_mem: int = 0) -> None:
        def again() -> None:
            self._launch(grid, block, arguments, shared_mem=shared_mem)

        if self._recorder.on:
            self._recorder.launches.append(Launched(self._name, self._bytes(arguments), again))
        again()

    def _bytes(self, arguments: tuple[Any, ...]) -> int:
        """Return the bytes that a launch must move: an array that is read and written counts twice."""
        ways = traffic.WAYS.get(self._name, {})
        places: dict[tuple[str, int], int] = {}
        for parameter, x in zip(self._parameters, arguments, strict=True):
            if parameter.array:
                way = ways.get(parameter.name, "r").lower() or "r"
                for each in way:
                    places[each, _address(x)] = x.nbytes
        return sum(places.values())


def _address(x: Any) -> int:
    """Return the place of an array in the device's memory."""
    place: int = x.__cuda_array_interface__["data"][0]
    return place


@contextmanager
def recorded() -> Iterator[Recorder]:
    """Yield a recorder of all launches within the block."""
    recorder = Recorder()
    with mock.patch.object(source, "library", source.Library(recorder)):
        yield recorder


def kernels(run: Run) -> None:
    """Time the launches of a step of each network, then each kernel on large arrays."""
    reached = copy(run.card, run.sizes.steps, large(run))
    run.note(copy_bytes_per_second=reached)
    for name in run.sizes.networks:
        for row in of_step(run, name):
            run.add("step", row | {"of_a_copy": _share(row, reached)})
    columns = large(run)
    run.note(columns=columns)
    for dtype in ("float32", "float64"):
        for name, work in gpu_launches.launches(dtype, run.sizes.steps, columns).items():
            if run.left() < 0:
                run.note(stopped=f"out of time before {name} in {dtype}")
                return
            row = {"kernel": name, "dtype": dtype, "microseconds": 1e6 * run.card.seconds(work)}
            row["bytes"] = traffic.bytes_per_element(name, dtype) * run.sizes.steps * columns
            run.add("large", row | {"of_a_copy": _share(row, reached)})


def _share(row: dict[str, Any], reached: float) -> float:
    """Return the bytes a second of a row as a share of those of a copy."""
    share: float = row["bytes"] / (1e-6 * row["microseconds"]) / reached
    return share


def of_step(run: Run, name: str) -> list[dict[str, Any]]:
    """Return a row for each kernel of a training step of a network: its launches, bytes, time, and the model's."""
    network = run.sizes.networks[name]
    with recorded() as recorder:
        trainer, loader = prepared(
            network.make, network.shape, run.sizes.steps, network.batch, 1, resident="cuda", graph=False
        )
        trainer.train(loader)
        take_step = PlainStep.take

        def recorded_step(*arguments: Any) -> None:
            recorder.on = True
            take_step(*arguments)
            recorder.on = False

        # An epoch has launches before its first step and after the last.
        with mock.patch.object(PlainStep, "take", recorded_step):
            trainer.train(loader, steps=1)
        rows: dict[str, dict[str, Any]] = {}
        for launched in recorder.launches:
            row = rows.setdefault(launched.kernel, {"network": name, "kernel": launched.kernel, "launches": 0})
            moved, seconds = row.get("bytes", 0), row.get("microseconds", 0.0)
            row["launches"] += 1
            row["bytes"] = moved + launched.bytes
            row["microseconds"] = seconds + 1e6 * run.card.seconds(launched.again)
            row["model_microseconds"] = row.get("model_microseconds", 0.0) + 1e6 * launched.bytes / traffic.BANDWIDTH
    return list(rows.values())
