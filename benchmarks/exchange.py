"""Exchange networks with snnTorch, Norse and sinabs by way of NIR, and count the spikes that move.

    python benchmarks/exchange.py                # three minutes
    python benchmarks/exchange.py --only norse

A CUBA network is trained on the embedded digits for one epoch, a convolutional network is calibrated on them; each is
exported in the dialect of each peer, read there, and run on the same recordings. Networks of the peers, with random
weights, are exported by them and read here. The peers run in the environment of benchmarks/peers.py, snnTorch with a
later nir in a folder beside it. A spike has moved where the other raster has none at this step and neuron. Writes a
table to docs/exchange.md.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import common
import numpy as np
from comparison import process

import cuslayer as cs
from cuslayer.data import Digits, Loader
from cuslayer.training import Trainer

PEERS = ("snntorch", "norse", "sinabs")
LATER_NIR = "1.0.8"
STEPS, SAMPLES = 150, 10
CUBA = {"tau_i": 5.0, "tau_v": 15.0}


class Peers:
    """The peers' environment, and a folder for files."""

    def __init__(self, folder: Path, scratch: Path, wanted: list[str]) -> None:
        self.python, self.scratch = str(process.python_of(folder)), scratch
        problems = process.install(folder, [*wanted, "exchange"])
        if problems:
            raise SystemExit("\n".join(f"{name}: {said}" for name, said in problems.items()))
        self.later = folder / f"nir-{LATER_NIR}"
        if "snntorch" in wanted and not self.later.exists():
            pip = [self.python, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
            subprocess.run([*pip, str(self.later), f"nir=={LATER_NIR}"], check=True)

    def run(self, peer: str, what: str, file: Path, x: np.ndarray, kind: str = "lif") -> np.ndarray:
        """Let a peer read a file and run it on spikes x, frames (C, H, W), or write one; return its output."""
        given, taken = self.scratch / "x.npz", self.scratch / "spikes.npy"
        np.savez(given, x=x)
        command = [self.python, "-m", "comparison.exchange", peer, what, *map(str, (file, given, taken)), kind]
        environment = {**os.environ, "PYTHONPATH": str(self.later) if peer == "snntorch" else ""}
        done = subprocess.run(command, cwd=Path(__file__).parent, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{peer}: {done.stderr.strip().splitlines()[-1]}")
        return np.load(taken)

    def versions(self, names: list[str]) -> dict[str, str]:
        """Return the versions of packages."""
        code = f"from importlib.metadata import version; print(*map(version, {names!r}))"
        found = subprocess.run([self.python, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        return dict(zip(names, found, strict=True))


def trained() -> tuple[cs.Network, float]:
    """Return a CUBA network that has learned the digits for one epoch, and its accuracy in %."""
    cs.seed(0)
    neuron = cs.CUBA(**CUBA)
    net = cs.Network("34x34x2-64-10", neuron)
    batches = Loader(Digits("train"), batch=16, steps=STEPS, shuffle=True, seed=0)
    cs.calibrate(net, batches)
    loss = cs.SpikeCountLoss(neuron, true=30, false=5, window=(0, STEPS))
    optimizer = cs.Adam(net.parameters(), lr=0.1, relative=True, warmup=30, amsgrad=True)
    Trainer(net, loss, optimizer, calibrate=None).train(batches)
    with cs.no_grad():
        spikes, labels = next(iter(Loader(Digits("test"), batch=100, steps=STEPS)))
        return net, 100 * float((cs.classify(net(spikes)) == labels).mean())


def calibrated(notation: str, neuron: Any) -> cs.Network:
    """Return a network whose layers fire at the usual rate on the digits."""
    cs.seed(1)
    net = cs.Network(notation, neuron)
    cs.calibrate(net, Loader(Digits("train"), batch=16, steps=STEPS, shuffle=True, seed=0))
    return net


def judged(ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    """Return the spikes of both, and those that moved."""
    found = {"ours": int(ours.sum()), "theirs": int(theirs.sum()), "moved": int((ours != theirs).sum())}
    return found | {"share": 100 * found["moved"] / max(1, found["ours"] + found["theirs"])}


def measure(peers: Peers, wanted: list[str]) -> dict[str, Any]:
    net, accuracy = trained()
    rows: list[dict[str, Any]] = []
    x = np.asarray(next(iter(Loader(Digits("test"), batch=SAMPLES, steps=STEPS)))[0])
    frames = np.ascontiguousarray(x.transpose(0, 1, 4, 2, 3))
    few = np.random.default_rng(2).random((STEPS, SAMPLES, 20)) < 0.3
    file, notation = peers.scratch / "net.nir", "34x34x2-8c5-2a-64-10"

    def add(**row: Any) -> None:
        rows.append(row)
        print(row, flush=True)

    for peer in wanted:
        lif = cs.LIF(tau=15.0, reset="subtract" if peer == "sinabs" else "zero")
        nets = {"34x34x2-64-10, CUBA, trained": net, f"{notation}, LIF": calibrated(notation, lif)}
        if peer == "norse":  # snnTorch's reader fails at recurrence or gives other spikes, by its nirtorch
            nets["34x34x2-64r-10, CUBA"] = calibrated("34x34x2-64r-10", cs.CUBA(**CUBA))
        if peer == "sinabs":  # its reader knows neither CubaLIF nor neurons of frames
            nets = {"34x34x2-64-10, LIF": calibrated("34x34x2-64-10", lif)}
        for name, each in nets.items():
            cs.export_nir(each, file, dialect=peer)
            with cs.no_grad():
                again, ours = cs.import_nir(file)(x).data, each(x).data
            theirs = peers.run(peer, "read", file, frames) > 0
            back = int((again != ours).sum())
            add(network=name, way=f"here to {peer}", **judged(ours, theirs), back=back)
        for kind in ("lif", "cuba", "recurrent lif") if peer == "snntorch" else ("lif",):
            theirs = peers.run(peer, "write", file, few, kind) > 0
            here = cs.import_nir(file, dialect=peer)
            with cs.no_grad():
                row = judged(here(few).data, theirs)
            name = "20-30r-10r, LIF" if "recurrent" in kind else f"20-30-10, {kind.upper()}"
            add(network=name, way=f"{peer} to here", **row)
    return {
        "accuracy": accuracy,
        "rows": rows,
        "versions": peers.versions([*wanted, "nir", "torch"]) | {"nir for snntorch": LATER_NIR},
    }


def lines_of(found: dict[str, Any]) -> list[str]:
    """Return the table of the page."""
    heads = ["way", "network", "spikes here", "spikes there", "moved", "%"]
    rows = [
        [row["way"], row["network"], *(f"{row[n]:,}" for n in ("ours", "theirs", "moved")), f"{row['share']:.3f}"]
        for row in found["rows"]
    ]
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    back = sum(row.get("back", 0) for row in found["rows"])
    said = f"{versions}; {common.said(found['machine'], found['command'])}. The trained network has "
    said += f"{found['accuracy']:.0f} % of 100 test digits right. Spikes that moved on the way out and back: {back}."
    return [*common.table(heads, rows, 2), "", said]


def main(arguments: list[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--only", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--env", type=Path, default=process.FOLDER)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Peers(options.env, Path(folder), options.only), options.only)
    found |= {"machine": common.describe("nir"), "command": common.command("exchange", arguments)}
    found["versions"] |= {"nir here": version("nir")}
    common.save("exchange", found, options.out)
    common.show(options.out, "exchange", "exchange", lines_of(found))


if __name__ == "__main__":
    main()
