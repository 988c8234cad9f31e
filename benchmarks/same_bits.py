"""Compare the bits that two checkouts compute: spikes, losses, gradients and weights of training runs.

    python benchmarks/same_bits.py OTHER_CHECKOUT [--data NMNISTsmall --oxford OXFORD]

Each checkout trains README's example, the network of examples/nmnist_cnn.py and that of examples/oxford.py for a few
steps, in its own process. Each array is hashed; the exit code is 1 if two hashes differ. Without recordings the
embedded digits and random spikes are used.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
STEPS = {"README": 6, "CNN": 3, "CNN float16": 2, "Oxford": 30}


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


def example(root: Path, name: str):
    """Return a module of examples/."""
    spec = importlib.util.spec_from_file_location(name, root / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def hashes(root: Path, data: str | None, oxford: str | None) -> dict[str, dict[str, str]]:
    """Return the hashes of the runs, with the package that this process imports."""
    from itertools import islice

    import cuslayer as cs
    from cuslayer.data import Digits, Loader, open_folder

    def batches(batch: int, count: int):
        train = open_folder(data)[0] if data else Digits("train")
        return islice(Loader(train, batch=batch, steps=300, shuffle=True, seed=0), count)

    found = {}
    cs.seed(0)
    srm = cs.SRM(theta=10.0, tau_sr=10.0, tau_ref=1.0)
    net = cs.Network("34x34x2-256-10", srm)
    loss = cs.SpikeCountLoss(srm, true=60, false=10, region=(0, 300))
    adam = cs.Adam(net.parameters(), lr=0.01, amsgrad=True)
    found["README"] = trained(net, loss, adam, batches(16, STEPS["README"]))

    for name in ("CNN", "CNN float16"):
        cs.seed(0)
        net = example(root, "nmnist_cnn").network(srm)
        if name != "CNN":
            # The option had another name in versions before 0.2.
            kept = {"potentials": "float16"} if hasattr(net, "potentials") else {"store": "half"}
            net = cs.Sequential(*net.layers, **kept)
        adam = cs.Adam(net.parameters(), lr=0.002, amsgrad=True)
        found[name] = trained(net, loss, adam, batches(8, STEPS[name]))

    cs.seed(0)
    srm = cs.SRM(theta=10, tau_sr=10, tau_ref=1, scale_ref=2, tau_rho=1, scale_rho=1)
    if oxford:
        read = example(root, "oxford").read
        x, target = read(Path(oxford) / "input.bs1"), read(Path(oxford) / "output.bs1")
    else:
        rng = np.random.default_rng(0)
        x, target = rng.random((2, 1900, 1, 200)) < 0.01
    for gradient in ("slayer", "exact"):
        neuron = cs.SRM(tau_rho=0.1, scale_ref=1.0, gradient=gradient) if gradient == "exact" else srm
        net = cs.Sequential(cs.Dense(200, 256), neuron, cs.Dense(256, 200), neuron)
        adam = cs.Adam(net.parameters(), lr=0.01, amsgrad=True)
        count = STEPS["Oxford"] if gradient == "slayer" else 5
        found[f"Oxford {gradient}"] = trained(net, cs.SpikeTimeLoss(neuron), adam, [(x, target)] * count)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="another checkout; with --write, where the hashes go")
    parser.add_argument("--data", help="a folder of recordings; left out: the embedded digits")
    parser.add_argument("--oxford", help="the folder with input.bs1 and output.bs1; left out: random spikes")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        options.write.write_text(json.dumps(hashes(options.other, options.data, options.oxford)))
        return 0
    found = []
    for root in (ROOT, options.other.resolve()):
        file = Path(f"{os.getpid()}.hashes")
        command = [sys.executable, str(Path(__file__).resolve()), str(root), "--write", str(file)]
        for name in ("data", "oxford"):
            if getattr(options, name):
                command += [f"--{name}", getattr(options, name)]
        try:
            subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": str(root)})
            found.append(json.loads(file.read_text()))
        finally:
            file.unlink(missing_ok=True)
    mine, theirs = found
    bad = 0
    for run in mine:
        differ = [name for name in mine[run] if mine[run][name] != theirs[run].get(name)]
        bad += len(differ)
        print(f"{run:16} {len(mine[run]):4} arrays, {len(differ)} differ {', '.join(differ[:4])}")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
