"""Learn handwritten digits without labels: spike-timing-dependent plasticity and neurons that compete.

    python stdp_digits.py                             # 1,437 images of 8 x 8 pixels, four times: half a minute
    python stdp_digits.py --picture weights.png       # what each neuron has learned

A pixel fires at a rate of its brightness. At each step only the neuron with the largest input gets it. When it fires,
its weights move towards the pixels that fired shortly before. A neuron that wins often gets a lower bias. Labels come
in only after learning: a neuron votes for the digits at which it fired.
"""

from __future__ import annotations

import argparse

import numpy as np

import cuslayer as cs
from cuslayer.data.digits import BRIGHTEST, labelled_images

PIXELS = 64
STEPS = 50  # of 1 ms
RATE = 200.0  # Hz of a white pixel
NORM = 3.0  # of the weights of a neuron
FAIRNESS = 0.2  # what a neuron's share of the spikes takes from its bias
RULE = cs.plasticity.STDP(a_plus=0.03, a_minus=0.0, tau_plus=20.0, offset=1.5, soft=1.0)


def spikes(images, seed, steps=STEPS):
    return cs.encode_poisson(images.reshape(-1, PIXELS) / BRIGHTEST, steps=steps, rate=RATE, seed=seed)


def normalized(weight):
    return weight * (NORM / np.linalg.norm(weight, axis=0))


def network(neurons, rng):
    layer = cs.Dense(PIXELS, neurons, bias=True)
    layer.weight = normalized(rng.uniform(0.2, 0.6, (PIXELS, neurons)))
    smooth = cs.layers.TemporalFilter(cs.LIF(tau=20.0))
    return cs.Sequential(layer, smooth, cs.layers.KWinners(1), cs.LIF(theta=40.0, tau=50.0))


def learn(net, images, rng, batch=20):
    """Show each image once, in a new order."""
    layer = net[0]
    order = rng.permutation(len(images))
    for first in range(0, len(order), batch):
        x = spikes(images[order[first : first + batch]], seed=rng.integers(2**31))
        fired = net.stream(plasticity={0: RULE})(x).sum(axis=(0, 1))
        layer.weight = normalized(layer.weight.data)
        layer.bias = layer.bias.data - FAIRNESS * (fired / max(fired.sum(), 1) - 1 / len(fired))


def counts(net, images):
    with cs.no_grad():
        return net(spikes(images, seed=0, steps=2 * STEPS)).data.sum(axis=0)


def pictures(weights):
    """Return the weights of small neuron as a picture, ten in a row."""
    missing = -weights.shape[1] % 10
    small = np.pad(weights, ((0, 0), (0, missing))).reshape(8, 8, -1, 10)
    framed = np.pad(small, ((1, 1), (1, 1), (0, 0), (0, 0)))
    return framed.transpose(2, 0, 3, 1).reshape(-1, 100)


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--neurons", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--limit", type=int, help="how many images to learn from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", help="file for the weights of each neuron as pictures")
    options = parser.parse_args(arguments)

    cs.seed(options.seed)
    rng = np.random.default_rng(options.seed)
    images, labels = labelled_images()
    held = np.arange(len(images)) % 5 == 0
    train, validation = np.flatnonzero(~held)[: options.limit], np.flatnonzero(held)
    net = network(options.neurons, rng)
    for number in range(options.epochs):
        learn(net, images[train], rng)
        # The mean count of each neuron for each digit, as shares of its votes.
        fired = counts(net, images[train])
        votes = np.array([fired[labels[train] == digit].mean(axis=0) for digit in range(10)])
        votes /= np.maximum(votes.sum(axis=0), 1e-9)
        answers = (counts(net, images[validation]) @ votes.T).argmax(axis=1)
        print(f"epoch {number + 1}: validation {(answers == labels[validation]).mean():.2%}", flush=True)
    if options.picture:
        import matplotlib.pyplot as plt

        plt.imsave(options.picture, pictures(net[0].weight.data), cmap="gray_r", metadata={"Software": None})
    return net[0].weight.data


if __name__ == "__main__":
    main()
