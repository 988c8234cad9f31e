"""Train 200-256-200 neurons to map one spike pattern to another, each spike at its millisecond.

    python oxford.py --data oxford --plot oxford.png

The folder has input.bs1 and output.bs1, spikes of 200 neurons each over 1.9 s. In the recordings of the SuperSpike
paper (Zenke and Ganguli 2018), which SLAYER's own example uses, the target is a picture of a building in Oxford.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import cuslayer as cs
from cuslayer.data import read_events

NEURONS, STEPS = 200, 1900  # steps of 1 ms


def read(path):
    """Return the spikes of a file as a batch of one, boolean (T, 1, neurons)."""
    return read_events(path).to_spikes((NEURONS,), STEPS, rounding="nearest")[:, None]


def draw(path, rasters):
    """Draw a dot for each spike, at its time and neuron."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(rasters), figsize=(10, 4), sharey=True, layout="constrained")
    for axis, (title, spikes) in zip(axes, rasters, strict=True):
        time, neuron = np.nonzero(spikes[:, 0])
        axis.plot(time, neuron, ".", color="black", markersize=1)
        axis.set(title=title, xlabel="time (ms)", xlim=(0, STEPS), ylim=(0, NEURONS))
    axes[0].set_ylabel("neuron")
    figure.savefig(path)
    plt.close(figure)


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data", required=True, type=Path, help="the folder with input.bs1 and output.bs1")
    parser.add_argument("--epochs", type=int, default=10_000, help="training steps, since there is one pattern")
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", metavar="FILE", help="a file for a figure of target and output")
    options = parser.parse_args(arguments)

    cs.seed(options.seed)
    x, target = read(options.data / "input.bs1"), read(options.data / "output.bs1")
    srm = cs.SRM(theta=10, tau_sr=10, tau_ref=1, scale_ref=2, tau_rho=1, scale_rho=1)
    net = cs.Sequential(cs.Dense(NEURONS, 256), srm, cs.Dense(256, NEURONS), srm)
    error = cs.SpikeTimeLoss(srm)
    # At a constant rate the loss fluctuates by half at the end; with cosine decay it converges.
    rate = cs.optim.cosine_decay(options.lr, epochs=options.epochs)
    optimizer = cs.Adam(net.parameters(), lr=rate, amsgrad=True)

    for iteration in range(options.epochs):
        optimizer.epoch = iteration
        loss = error(net(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if iteration % 100 == 0 or iteration == options.epochs - 1:
            print(f"iteration {iteration}: loss {loss.item():.1f}")
    if options.plot:
        draw(options.plot, [("target", target), ("output", net(x).numpy())])


if __name__ == "__main__":
    main()
