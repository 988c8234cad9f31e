"""Train 200-256-200 neurons of Intel's Loihi to map one spike pattern to another, in the chip's integers.

    python oxford_loihi.py --data oxford --plot oxford.png

The folder has input.bs1 and output.bs1, as in oxford.py. Every forward pass rounds weights to multiples of 2, the
chip's signed weights; the gradient is that of the identity. Spikes reach the next layer one step later, as on the chip.
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
    parser.add_argument("--epochs", type=int, default=2000, help="training steps, since there is one pattern")
    parser.add_argument("--lr", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", metavar="FILE", help="a file for a figure of target and output")
    options = parser.parse_args(arguments)

    cs.seed(options.seed)
    x, target = read(options.data / "input.bs1"), read(options.data / "output.bs1")
    neuron = cs.Loihi(vth_mant=80, v_decay=128, i_decay=1024, ref_delay=1, wgt_exp=0, tau_rho=1, scale_rho=1)
    net, error = cs.Network(f"{NEURONS}-256-{NEURONS}", neuron), cs.SpikeTimeLoss(neuron)
    rate = cs.optim.cosine_decay(options.lr, epochs=options.epochs)
    optimizer = cs.optim.NAdam(net.parameters(), lr=rate)
    for iteration in range(options.epochs):
        optimizer.epoch = iteration
        loss = error(net(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if iteration % 100 == 0 or iteration == options.epochs - 1:
            print(f"iteration {iteration}: loss {loss.item():.1f}", flush=True)
    if options.plot:
        draw(options.plot, [("target", target), ("output", net(x).numpy())])


if __name__ == "__main__":
    main()
