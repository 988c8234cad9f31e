"""Every reader of files: valid files for it, how they are mutated, and the call that reads one."""

from __future__ import annotations

import io
import os
import random
import tempfile
import wave
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import cuslayer as cs
from cuslayer.data import (
    EventFolder,
    Events,
    SpikeCounts,
    read_counts,
    read_sounds,
    read_wave,
    write_counts,
    write_events,
)
from cuslayer.interchange import export_hdf5, export_nir, import_hdf5, import_nir
from cuslayer.training import Config, Params, load_checkpoint, load_config, load_run, load_stats, train
from cuslayer.training.gradient_flow import GradientFlow
from fuzzing import hostile
from fuzzing.mutate import Mutation, mutated, of_bytes, of_npy, of_text, of_zip

FILES = Path(__file__).parents[2] / "tests" / "support" / "files"
EVENTS = 60


@dataclass
class Reader:
    """A reader of files.

    Attributes:
        suffix: the suffix of its files.
        read: reads a file.
        valid: contents of valid files.
        mutation: changes a content.
        hostile: contents of files that are built to do harm.
        prepare: called with the folder of the files, before the first is read.
    """

    suffix: str
    read: Callable[[Path], Any]
    valid: list[bytes]
    mutation: Mutation = of_bytes
    hostile: list[bytes] = field(default_factory=list)
    prepare: Callable[[Path], Any] = lambda folder: None

    def content(self, seed: int, number: int) -> bytes:
        """Return the content of a case: first valid and hostile files as they are, then mutations."""
        as_they_are = [*self.valid, *self.hostile]
        if number < len(as_they_are):
            return as_they_are[number]
        r = random.Random(f"{seed} {self.suffix} {number}")
        if self.hostile and r.random() < 0.02:
            # What they unfold to is not made anew.
            return mutated(r, self.hostile, of_bytes)
        return mutated(r, self.valid, self.mutation)


def _events(r: np.random.Generator, *, flat: bool) -> Events:
    t = np.sort(r.integers(0, 2**22, EVENTS)) / 1000
    x, y = r.integers(0, 200, (2, EVENTS))
    return Events(t, x, None if flat else y, np.arange(EVENTS) % 2)


def _read_events(path: Path) -> None:
    found = cs.read_events(path)
    # What was read is what events may be.
    if Events(found.t, found.x, found.y, found.p) != found:
        raise AssertionError("the events that were read are none")


def _event_readers(folder: Path) -> dict[str, Reader]:
    """Return a reader for each format of events."""
    from cuslayer.data.formats import FORMATS

    r = np.random.default_rng(0)
    found = {}
    # Formats that are only read; any words are events.
    headers = {".dat": b"% Version 2\n\x0c\x08", ".raw": b"% evt 3.0\n% end\n", ".aedat4": None}
    for suffix in FORMATS:
        contents = [path.read_bytes() for path in sorted(FILES.glob(f"*{suffix}"))]
        if headers.get(suffix):
            contents.append(headers[suffix] + r.bytes(8 * EVENTS))
        for _ in range(0 if suffix in headers else 3):
            path = folder / f"a{suffix}"
            write_events(path, _events(r, flat=suffix == ".bs1"))
            contents.append(path.read_bytes())
        found[f"events {suffix}"] = Reader(suffix, _read_events, contents)
    found["events .npy"].mutation = of_npy
    found["events .aedat4"].hostile = hostile.aedat4(FILES.joinpath("dv_zstd.aedat4").read_bytes())
    for name in (each for each in FORMATS if each in (".h5", ".hdf5")):
        path = folder / "plain.h5"
        with h5py.File(path, "w") as file:
            for column in "xypt":
                file[f"events/{column}"] = np.arange(EVENTS)
        found[f"events {name}"].valid.append(path.read_bytes())
        found[f"events {name}"].hostile = hostile.hdf5(tuple(f"events/{column}" for column in "xypt"))
    path = folder / "a.bsn"
    write_counts(path, SpikeCounts([1, 2, 3], [0.0, 1.0, 2.0], [5.0, 6.0, 7.0], [1, 0, 9]))
    found["counts .bsn"] = Reader(".bsn", read_counts, [path.read_bytes()])
    return found


def _sounds() -> bytes:
    """Return an archive of sounds."""
    out, r = io.BytesIO(), np.random.default_rng(0)
    audio, start = r.integers(-99, 99, 60).astype(np.int16), np.arange(0, 61, 20)
    np.savez(out, audio=audio, start=start, label=np.array([0, 1, 1]), speaker=np.array(["a", "b", "a"]))
    return out.getvalue()


def _waves() -> list[bytes]:
    """Return WAV files of one and of two channels, of 8, 16 and 32 bits; one with a part before its samples."""
    found = []
    for channels, width in ((1, 1), (1, 2), (2, 2), (2, 4)):
        out = io.BytesIO()
        with wave.open(out, "wb") as file:
            file.setparams((channels, width, 8000, 0, "NONE", ""))
            file.writeframes(bytes(range(120)))
        found.append(out.getvalue())
    found.append(found[1][:12] + b"LIST\3\0\0\0abc\0" + found[1][12:])
    return found


YAML = [
    Config(layers=("34x34x2", "16c5", "2a", "10"), data="recordings", out="runs/1").to_yaml(),
    """\
simulation: {Ts: 1.0, tSample: 300, nSample: 12}
neuron: {type: LOIHI, vThMant: 80, vDecay: 128, iDecay: 1024, refDelay: 1, wgtExp: 0, tauRho: 1, scaleRho: 1}
layer:
  - {dim: 34x34x2}
  - {dim: 16c5, padding: [1, 2], stride: 2, dilation: 1, groups: 2, wScale: 0.5}
  - {dim: 2a}
  - {dim: 512, delay: true, maxDelay: 62.0}
  - {dim: 9, neuron: {type: SRMALPHA, theta: 1, tauSr: 1, tauRef: 1, scaleRef: 2, tauRho: 1, scaleRho: 1}}
  - {dim: 10avg}
  - {dim: 10}
training:
  error:
    type: NumSpikes
    probSlidingWin: 20
    tgtSpikeRegion: {start: 0, stop: 300}
    tgtSpikeCount: {true: 60, false: 10}
  optimizer: {type: NAdam, lr: 1.0e-3, amsgrad: false, weightDecay: 1.0e-5, schedule: step, every: 2, factor: 0.5}
  path: {in: data, train: train.txt, test: test.txt, out: runs/2}
  epochs: 5
  batch: 7
  seed: 3
  initialization: slayer
""",
    "layer: [{dim: 20}, {dim: 8}, {dim: 3}]\ntraining: {error: {type: SpikeTime}}\n",
    "a: &x {b: 1, c: [1, 2]}\nlayer: [{dim: 250}, {dim: 25}]\nd: *x\ne: {<<: *x, b: 2}\n",
]


def _read_config(path: Path) -> None:
    load_config(path)


def _read_params(path: Path) -> None:
    str(Params(path))


LIST = "#sample\tclass\n1\t0\n2 1\n\n3\t2\n4 0\n"


def _lists(folder: Path) -> None:
    """Write the recordings of a list."""
    for number in range(1, 5):
        write_events(folder / f"{number}.bs2", Events([1.0], [1], [1], [0]))


def _read_list(path: Path) -> None:
    EventFolder(path.parent, path)


def _network() -> cs.Sequential:
    cs.seed(0)
    neuron = cs.SRM()
    return cs.Sequential(cs.Conv(2, 2, 3, padding=1), neuron, cs.Dense((6, 6, 2), 3), neuron, cs.Delay(3, dt=1.0))


def _saved(folder: Path) -> list[bytes]:
    """Return saved networks: a chain, branches with weight hooks, and neurons of another kind."""
    neuron = cs.SRM()
    branches = cs.Parallel(cs.Dense(4, 3), cs.Dense(4, 3), join="add")
    hooked = cs.Dense(3, 2, weight_hook=cs.WeightNorm())
    sampled = cs.SampledSRM(neuron.response, neuron.refractory)
    networks = [
        _network(),
        cs.Sequential(branches, neuron, hooked, cs.Dropout(0.1), sampled),
        cs.Sequential(cs.Dense(4, 2), cs.Loihi(), cs.FilterBank(2, 5)),
    ]
    contents = []
    for net in networks:
        cs.save(net, folder / "net.npz")
        contents.append((folder / "net.npz").read_bytes())
    return contents


def _exported(folder: Path) -> list[bytes]:
    contents = []
    for notation, neuron in (("8x8x2-2c3-2a-5", cs.SRM()), ("6-4-2", cs.Loihi())):
        export_hdf5(cs.Network(notation, neuron), folder / "a.net")
        contents.append((folder / "a.net").read_bytes())
    return contents


def _run_config(folder: Path) -> Config:
    options = {"layers": ("6x6x2", "3", "2"), "true": 3.0, "false": 1.0}
    paths = {"data": str(folder / "recordings"), "out": str(folder / "run")}
    return Config(duration=10.0, region=(0.0, 10.0), epochs=2, batch=2, **options, **paths)


def _parts() -> tuple[Any, Any]:
    """Return a network and an optimizer that a checkpoint of `_run` fits."""
    config = _run_config(Path())
    net = config.network()
    return net, config.make_optimizer(net.parameters(), steps=4)


def _restore(net: Any, optimizer: Any, path: Path) -> None:
    load_checkpoint(path).restore(net, optimizer)


def _run(folder: Path) -> dict[str, bytes]:
    """Return the files of a short run."""
    out, data = folder / "run", folder / "recordings"
    data.mkdir()
    _lists(data)
    (data / "train.txt").write_text("1 0\n2 1\n3 1\n")
    (data / "test.txt").write_text("4 0\n")
    config = _run_config(folder)
    train(config, log=lambda line: None)
    return {path.name: path.read_bytes() for path in sorted(out.iterdir()) if path.suffix in (".npz", ".csv", ".yaml")}


def _write_files(files: dict[str, bytes], folder: Path) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)


def _read_run(name: str, path: Path) -> None:
    """Put a file into the place of one of a run's, and read the run; of checkpoints, this one."""
    os.replace(path, path.parent / name)
    load_run(path.parent / name if path.suffix == ".npz" else path.parent)


def _nir(folder: Path) -> list[bytes]:
    """Return files of networks in NIR."""
    found = []
    for notation, neuron in (("8x8x1-2c3-2a-4", cs.CUBA()), ("6-5-4", cs.LIF())):
        export_nir(cs.Network(notation, neuron), folder / "a.nir")
        found.append((folder / "a.nir").read_bytes())
    return found


def _read_gradients(net: Any, path: Path) -> None:
    GradientFlow(net).load(path)


def readers() -> dict[str, Reader]:
    """Return every reader by its name."""
    with tempfile.TemporaryDirectory(prefix="cuslayer-fuzz") as name:
        folder = Path(name)
        found = _event_readers(folder)
        exported, saved, files = _exported(folder), _saved(folder), _run(folder)
        texts, sounds = [text.encode() for text in YAML], _sounds()
        found |= {
            "import_hdf5": Reader(
                ".net", import_hdf5, exported, hostile=hostile.hdf5(("layer/0/shape", "simulation/Ts"))
            ),
            "import_nir": Reader(".nir", import_nir, _nir(folder), hostile=hostile.hdf5(("version", "node/edges"))),
            "read_sounds": Reader(".npz", read_sounds, [sounds], of_zip, hostile.archives(sounds)),
            "read_wave": Reader(".wav", read_wave, _waves()),
            "load_config": Reader(".yaml", _read_config, texts, of_text),
            "Params": Reader(".yaml", _read_params, texts, of_text),
            "label list": Reader(".txt", _read_list, [LIST.encode()], of_text, prepare=_lists),
            "cs.load": Reader(".npz", cs.load, saved, of_zip, hostile.archives(saved[0])),
            "load_stats": Reader(".csv", load_stats, [files["metrics.csv"]], of_text),
        }
        checkpoint = files["checkpoint.npz"]
        bombs = hostile.archives(checkpoint)
        found["load_checkpoint"] = Reader(".npz", partial(_restore, *_parts()), [checkpoint], of_zip, bombs)
        gradients = files.pop("gradients.csv")
        found["GradientFlow.load"] = Reader(".csv", partial(_read_gradients, _parts()[0]), [gradients], of_text)
        mutations = {".npz": of_zip, ".csv": of_text, ".yaml": of_text}
        for each, content in files.items():
            suffix = Path(each).suffix
            found[f"load_run, {each}"] = Reader(
                suffix,
                partial(_read_run, each),
                [content],
                mutations[suffix],
                bombs if suffix == ".npz" else [],
                partial(_write_files, dict(files)),
            )
        return found
