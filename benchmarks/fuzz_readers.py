"""Every reader of files, for `fuzz.py`: valid files and files built to do harm, how they are mutated, and the call."""

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
from fuzz_mutations import Mutation, mutated, of_bytes, of_npy, of_text, of_zip, unzipped, zipped

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
from cuslayer.interchange import export_hdf5, export_nir, import_hdf5, import_nir, import_onnx
from cuslayer.training import Config, Named, Params, load_checkpoint, load_config, load_run, load_stats, train
from cuslayer.training.score import GradientFlow

ROOT = Path(__file__).parents[1]
FILES = ROOT / "tests" / "support" / "files"
EVENTS = 60
# What a hostile file unfolds to: twice the memory that its reader may take.
BOMB = 1 << 27


@dataclass
class Reader:
    """A reader of files with a suffix, contents of valid files, and of files that are built to do harm."""

    suffix: str
    read: Callable[[Path], Any]
    valid: list[bytes]
    mutation: Mutation = of_bytes
    hostile: list[bytes] = field(default_factory=list)
    # Called with the folder of the files, before the first is read.
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


def written(folder: Path, name: str, write: Callable[[Path], object]) -> bytes:
    """Return what a function writes into a file."""
    write(folder / name)
    return (folder / name).read_bytes()


def hostile_archives(raw: bytes) -> list[bytes]:
    """Return zip files whose arrays unfold to much, beside the members of a valid one."""
    members, bomb = unzipped(raw), io.BytesIO()
    np.lib.format.write_array_header_1_0(bomb, {"descr": "<f4", "fortran_order": False, "shape": (BOMB // 4,)})
    bomb.write(bytes(BOMB))
    names = next(name for name in members if name != "about.npy"), "about.npy"
    return [zipped({**members, name: bomb.getvalue()}) for name in names]


def hostile_aedat4(raw: bytes) -> list[bytes]:
    """Return an AEDAT 4 file whose packet unfolds to much: of a file that is compressed by zstd, the header is kept."""
    import zstandard

    start = 14 + 4 + int.from_bytes(raw[14:18], "little")
    packet = zstandard.ZstdCompressor().compress(bytes(BOMB))
    return [raw[:start] + raw[start : start + 4] + len(packet).to_bytes(4, "little") + packet]


def hostile_hdf5(folder: Path, *names: str) -> list[bytes]:
    """Return HDF5 files whose numeric data sets are in other files, virtual, links, compressed zeros, or strings."""

    def virtual(file: h5py.File, name: str) -> None:
        layout = h5py.VirtualLayout((1000,), "i8")
        layout[:] = h5py.VirtualSource("other.h5", "x", (1000,))
        file.create_virtual_dataset(name, layout)

    zeros = {"shape": (BOMB // 4,), "dtype": "i4", "chunks": (1 << 20,), "compression": "gzip", "fillvalue": 1}
    puts: tuple[Callable[[h5py.File, str], Any], ...] = (
        lambda file, name: file.create_dataset(name, (100,), "u1", external=[("/etc/passwd", 0, 100)]),
        virtual,
        lambda file, name: file.__setitem__(name, h5py.ExternalLink("/etc/hostname", "/x")),
        lambda file, name: file.create_dataset(name, **zeros),
        lambda file, name: file.create_dataset(name, data=["a" * 100, "b"], dtype=h5py.string_dtype()),
        lambda file, name: file.create_dataset(name, data=[1, 2]).attrs.create("unit", "us" * 10_000),
    )
    return [_hdf5(folder, names, put) for put in puts]


def _hdf5(folder: Path, names: tuple[str, ...], put: Callable[[h5py.File, str], object]) -> bytes:
    with h5py.File(folder / "made.h5", "w") as file:
        for name in names:
            put(file, name)
    return (folder / "made.h5").read_bytes()


def _read_events(path: Path) -> None:
    found = cs.read_events(path)
    # What was read is what events may be.
    if Events(found.t, found.x, found.y, found.p) != found:
        raise AssertionError("the events that were read are none")


def _event_readers(folder: Path) -> dict[str, Reader]:
    """Return a reader for each format of events."""
    from cuslayer.data.formats import FORMATS

    r, found = np.random.default_rng(0), {}
    # Formats that are only read; any words are events.
    headers = {".dat": b"% Version 2\n\x0c\x08", ".raw": b"% evt 3.0\n% end\n", ".aedat4": None}
    for suffix in FORMATS:
        contents = [path.read_bytes() for path in sorted(FILES.glob(f"*{suffix}"))]
        if headers.get(suffix):
            contents.append(headers[suffix] + r.bytes(8 * EVENTS))
        for _ in range(0 if suffix in headers else 3):
            t, (x, y) = np.sort(r.integers(0, 2**22, EVENTS)) / 1000, r.integers(0, 200, (2, EVENTS))
            events = Events(t, x, None if suffix == ".bs1" else y, np.arange(EVENTS) % 2)
            contents.append(written(folder, f"a{suffix}", lambda path, events=events: write_events(path, events)))
        found[f"events {suffix}"] = Reader(suffix, _read_events, contents)
    found["events .npy"].mutation = of_npy
    found["events .aedat4"].hostile = hostile_aedat4(FILES.joinpath("dv_zstd.aedat4").read_bytes())
    columns = tuple(f"events/{column}" for column in "xypt")
    for name in (each for each in FORMATS if each in (".h5", ".hdf5")):
        plain = _hdf5(folder, columns, lambda file, column: file.create_dataset(column, data=np.arange(EVENTS)))
        found[f"events {name}"].valid.append(plain)
        found[f"events {name}"].hostile = hostile_hdf5(folder, *columns)
    counts = SpikeCounts([1, 2, 3], [0.0, 1.0, 2.0], [5.0, 6.0, 7.0], [1, 0, 9])
    content = written(folder, "a.bsn", lambda path: write_counts(path, counts))
    found["counts .bsn"] = Reader(".bsn", read_counts, [content])
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
    *(path.read_text("utf-8") for path in sorted((ROOT / "examples" / "configs").glob("*.yaml"))),
    Config(layers=("34x34x2", "16c5", "2a", "10"), neuron=cs.Loihi(), data="recordings", out="runs/1").to_yaml(),
    "layer: [{dim: 20}, {dim: 8}, {dim: 3}]\ntraining: {error: {type: SpikeTime}}\n",
    "layer: [{dim: 6x6x2}, {dim: 16c5, padding: [1, 2], stride: 2, groups: 2}, {dim: 9avg, delay: true}]\n",
    "a: &x {b: 1, c: [1, 2]}\nlayer: [{dim: 250}, {dim: 25}]\nd: *x\ne: {<<: *x, b: 2}\n",
]
LIST = "#sample\tclass\n1\t0\n2 1\n\n3\t2\n4 0\n"


def _lists(folder: Path) -> None:
    """Write the recordings of a list."""
    for number in range(1, 5):
        write_events(folder / f"{number}.bs2", Events([1.0], [1], [1], [0]))


def _saved(folder: Path) -> list[bytes]:
    """Return saved networks: a chain, branches with weight hooks, and neurons of another kind."""
    cs.seed(0)
    srm = cs.SRM()
    branches = cs.Parallel(cs.Dense(4, 3), cs.Dense(4, 3), join="add")
    hooked, sampled = cs.Dense(3, 2, weight_hook=cs.WeightNorm()), cs.neurons.SampledSRM(srm.response, srm.refractory)
    networks = (
        cs.Sequential(cs.Conv(2, 2, 3, padding=1), srm, cs.Dense((6, 6, 2), 3), srm, cs.Delay(3, dt=1.0)),
        cs.Sequential(branches, srm, hooked, cs.Dropout(0.1), sampled),
        cs.Sequential(cs.Dense(4, 2), cs.Loihi(), cs.layers.FilterBank(2, 5)),
    )
    return [written(folder, "net.npz", partial(cs.save, net)) for net in networks]


def _run_config(folder: Path) -> Config:
    options = {"layers": ("6x6x2", "3", "2"), "error": Named("SpikeCountLoss", {"true": 3.0, "false": 1.0})}
    paths = {"data": str(folder / "recordings"), "out": str(folder / "run")}
    return Config(duration=10.0, epochs=2, batch=2, **options, **paths)


def _run(folder: Path) -> dict[str, bytes]:
    """Return the files of a short run."""
    out, data = folder / "run", folder / "recordings"
    data.mkdir()
    _lists(data)
    (data / "train.txt").write_text("1 0\n2 1\n3 1\n")
    (data / "test.txt").write_text("4 0\n")
    train(_run_config(folder), log=lambda line: None)
    return {path.name: path.read_bytes() for path in sorted(out.iterdir()) if path.suffix in (".npz", ".csv", ".yaml")}


def _write_files(files: dict[str, bytes], folder: Path) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)


def _read_run(name: str, path: Path) -> None:
    """Put a file into the place of one of a run's, and read the run; of checkpoints, this one."""
    os.replace(path, path.parent / name)
    load_run(path.parent / name if path.suffix == ".npz" else path.parent)


def _onnx() -> list[bytes]:
    """Return a convolutional and a residual network as ONNX files."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    shapes = {"first": (4, 1, 3, 3), "inner": (4, 4, 3, 3), "last": (144, 3)}
    weights = [numpy_helper.from_array(rng.standard_normal(shape, np.float32), name) for name, shape in shapes.items()]
    end = [helper.make_node("Flatten", ["d"], ["e"]), helper.make_node("Gemm", ["e", "last"], ["y"], alpha=0.5)]
    chain = [
        helper.make_node("Conv", ["x", "first"], ["a"], strides=[1, 1], pads=[0, 0, 0, 0]),
        helper.make_node("Relu", ["a"], ["d"]),
    ]
    residual = [
        helper.make_node("Conv", ["x", "first"], ["a"]),
        helper.make_node("Conv", ["a", "inner"], ["b"], auto_pad="SAME_UPPER"),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("Relu", ["c"], ["d"]),
    ]
    models = []
    for nodes in (chain, residual):
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 8, 8])
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
        models.append(
            helper.make_model(helper.make_graph([*nodes, *end], "net", [x], [y], weights)).SerializeToString()
        )
    return models


def readers() -> dict[str, Reader]:
    """Return every reader by its name."""
    with tempfile.TemporaryDirectory(prefix="cuslayer-fuzz") as name:
        folder = Path(name)
        hdf5, nir = (
            [written(folder, "exported", partial(export, cs.Network(*net))) for net in nets]
            for export, nets in (
                (export_hdf5, (("8x8x2-2c3-2a-5", cs.SRM()), ("6-4-2", cs.Loihi()))),
                (export_nir, (("8x8x1-2c3-2a-4", cs.CUBA()), ("6-5-4", cs.LIF()))),
            )
        )
        bad_hdf5 = hostile_hdf5(folder, "layer/0/shape", "simulation/Ts")
        bad_nir = hostile_hdf5(folder, "version", "node/edges")
        texts, sounds, saved, files = [text.encode() for text in YAML], _sounds(), _saved(folder), _run(folder)
        config = _run_config(Path())
        net = config.network()
        optimizer = config.make_optimizer(net.parameters(), steps=4)
        checkpoint, gradients = files["checkpoint.npz"], files.pop("gradients.csv")
        bombs = hostile_archives(checkpoint)
        found = _event_readers(folder) | {
            "import_hdf5": Reader(".net", import_hdf5, hdf5, hostile=bad_hdf5),
            "import_nir": Reader(".nir", import_nir, nir, hostile=bad_nir),
            "import_onnx": Reader(".onnx", import_onnx, _onnx()),
            "read_sounds": Reader(".npz", read_sounds, [sounds], of_zip, hostile_archives(sounds)),
            "read_wave": Reader(".wav", read_wave, _waves()),
            "load_config": Reader(".yaml", load_config, texts, of_text),
            "Params": Reader(".yaml", lambda path: str(Params(path)), texts, of_text),
            "label list": Reader(
                ".txt", lambda path: EventFolder(path.parent, path), [LIST.encode()], of_text, prepare=_lists
            ),
            "cs.load": Reader(".npz", cs.load, saved, of_zip, hostile_archives(saved[0])),
            "load_stats": Reader(".csv", load_stats, [files["metrics.csv"]], of_text),
            "load_checkpoint": Reader(
                ".npz", lambda path: load_checkpoint(path).restore(net, optimizer), [checkpoint], of_zip, bombs
            ),
            "GradientFlow.load": Reader(".csv", lambda path: GradientFlow(net).load(path), [gradients], of_text),
        }
        for each, content in files.items():
            suffix = Path(each).suffix
            mutation, more = (of_zip, bombs) if suffix == ".npz" else (of_text, [])
            prepare = partial(_write_files, files)
            found[f"load_run, {each}"] = Reader(suffix, partial(_read_run, each), [content], mutation, more, prepare)
        return found
