"""Compare the bits that two checkouts compute: spikes, losses, gradients and weights of training runs.

    python benchmarks/same_bits.py OTHER_CHECKOUT [--data NMNISTsmall --oxford OXFORD]

Each checkout trains README's example, the network of examples/nmnist_cnn.py and that of examples/oxford.py for a few
steps, in its own process. Each array is hashed; the exit code is 1 if two hashes differ. Without recordings the
embedded digits and random spikes are used.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import runpy
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
STEPS = {"README": 6, "CNN": 3, "CNN float16": 2, "Oxford slayer": 30, "Oxford exact": 5}


def digest(array) -> str:
    """Return a hash of the shape, type and bytes of an array."""
    array = np.ascontiguousarray(array)
    head = f"{array.shape} {array.dtype} ".encode()
    return hashlib.sha256(head + array.tobytes()).hexdigest()[:16]


def trained(net, loss, optimizer, batches) -> dict[str, str]:
    """Train on batches; return the hashes of each step's loss, spikes and gradients, and of a last inference."""
    import cuslayer as cs

    found = {}
    for number, (x, target) in enumerate(batches):
        out = net(x)
        value = loss(out, target)
        optimizer.zero_grad()
        value.backward()
        found[f"{number} loss"] = digest(np.float64(value.item()))
        found[f"{number} spikes"] = digest(out.numpy())
        for place, parameter in enumerate(net.parameters()):
            found[f"{number} gradient {place}"] = digest(parameter.grad)
        optimizer.step()
        last = x
    for place, parameter in enumerate(net.parameters()):
        found[f"weight {place}"] = digest(parameter.data)
    with cs.no_grad():
        found["inferred spikes"] = digest(net(last).numpy())
    return found


def hashes(root: Path, data: str | None, oxford: str | None) -> dict[str, dict[str, str]]:
    """Return the hashes of the runs, with the package that this process imports."""
    import cuslayer as cs
    from cuslayer.data import Digits, Loader, open_folder

    def example(name: str) -> dict:
        return runpy.run_path(str(root / "examples" / f"{name}.py"))

    def run(name: str, make, loss, batches, lr: float) -> None:
        cs.seed(0)
        net = make()
        adam = cs.Adam(net.parameters(), lr=lr, amsgrad=True)
        found[name] = trained(net, loss, adam, islice(batches, STEPS[name]))

    def batches(size: int):
        train = open_folder(data)[0] if data else Digits("train")
        return Loader(train, batch=size, steps=300, shuffle=True, seed=0)

    def half():
        net = example("nmnist_cnn")["network"](srm)
        # The option had another name in versions before 0.2.
        return cs.Sequential(*net.layers, **{"potentials" if hasattr(net, "potentials") else "store": "float16"})

    found: dict[str, dict[str, str]] = {}
    srm = cs.SRM(theta=10.0, tau_sr=10.0, tau_ref=1.0)
    loss = cs.SpikeCountLoss(srm, true=60, false=10, window=(0, 300))
    run("README", lambda: cs.Network("34x34x2-256-10", srm), loss, batches(16), 0.01)
    run("CNN", lambda: example("nmnist_cnn")["network"](srm), loss, batches(8), 0.002)
    run("CNN float16", half, loss, batches(8), 0.002)
    if oxford:
        x, target = (example("oxford")["read"](Path(oxford) / f"{name}.bs1") for name in ("input", "output"))
    else:
        x, target = np.random.default_rng(0).random((2, 1900, 1, 200)) < 0.01
    neurons = {
        "Oxford slayer": cs.SRM(theta=10, tau_sr=10, tau_ref=1, scale_ref=2, tau_rho=1, scale_rho=1),
        "Oxford exact": cs.SRM(tau_rho=0.1, scale_ref=1.0, gradient="exact"),
    }
    for name, neuron in neurons.items():

        def make(neuron=neuron):
            return cs.Sequential(cs.Dense(200, 256), neuron, cs.Dense(256, 200), neuron)

        run(name, make, cs.SpikeTimeLoss(neuron), [(x, target)] * STEPS[name], 0.01)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("other", type=Path, help="another checkout")
    parser.add_argument("--data", help="a folder of recordings; left out: the embedded digits")
    parser.add_argument("--oxford", help="the folder with input.bs1 and output.bs1; left out: random spikes")
    parser.add_argument("--write", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        print(json.dumps(hashes(options.other, options.data, options.oxford)))
        return 0
    found = []
    for root in (ROOT, options.other.resolve()):
        command = [sys.executable, str(Path(__file__).resolve()), "--write", str(root), *sys.argv[1:]]
        command.remove(str(options.other))
        environment = os.environ | {"PYTHONPATH": str(root)}
        found.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout))
    mine, theirs = found
    bad = 0
    for run in mine:
        differ = [name for name in mine[run] if mine[run][name] != theirs[run].get(name)]
        bad += len(differ)
        print(f"{run:16} {len(mine[run]):4} arrays, {len(differ)} differ {', '.join(differ[:4])}")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
