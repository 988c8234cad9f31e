"""Train a network whose synapses have delays; or delays of axons, or recurrent neurons, in a network of the same size.

    python delays.py --rate 0.001                  # two spikes in either order: one or two minutes
    python delays.py recurrent --rate 0.01
    python delays.py synapses --data recordings.npz --rate 0.04   # docs/spoken-digits.md says what is in the file

The networks have as many trained parameters, the same neurons, batches and steps of training. docs/delays.md has their
accuracies.
"""

from __future__ import annotations

import argparse
import math
from functools import cache
from itertools import chain, pairwise
from types import SimpleNamespace

import numpy as np

import cuslayer as cs
from cuslayer.data import Arrays, Loader, Subset, read_sounds

KINDS = ("synapses", "axons", "recurrent")
# What the networks of a task share: layers of neurons, weights and delays in all, batches of training; times in ms: a
# step, the longest delay, the first width of a delay's Gaussian, the time constants of neurons and of the read-out.
_ORDER = {"inputs": 2, "classes": 2, "layers": 1, "size": 289, "batches": 800, "digits": False}
_DIGITS = {"inputs": 32, "classes": 10, "layers": 2, "size": 13_400, "batches": 600, "digits": True}
ORDER = SimpleNamespace(**_ORDER, dt=1.0, longest=80.0, width=2.0, tau=10.0, readout=20.0)
DIGITS = SimpleNamespace(**_DIGITS, dt=20.0, longest=200.0, width=200 / 3, tau=20.0, readout=400.0)


def recordings(rng, count):
    """Return spikes (360, count, 2) and classes: of two spikes 5 to 60 ms apart, which input has the first.

    A lone spike, of either input, is 75 ms or more before the two, and another after them.
    """
    x, labels, each = np.zeros((360, count, 2), bool), rng.integers(0, 2, count), np.arange(count)
    before, apart = rng.integers(0, 30, count), rng.integers(5, 61, count)
    first = before + rng.integers(75, 100, count)
    after = first + apart + rng.integers(75, 100, count)
    x[before, each, rng.integers(0, 2, count)] = x[after, each, rng.integers(0, 2, count)] = True
    x[first, each, labels] = x[first + apart, each, 1 - labels] = True
    return x, labels


def order(seed, testing=True):
    """Return batches to train with, and the others."""
    rng = np.random.default_rng(seed)
    return (recordings(rng, 64) for _ in range(ORDER.batches)), [recordings(np.random.default_rng(998 + testing), 2000)]


@cache
def numbers(path):
    """Return the recordings of a file, their numbers, and what changes them in training."""
    sound, sounds = cs.training.load_config("spoken-digits-delays").sound, read_sounds(path)
    to_input = sound.to_input(DIGITS.dt, 1500.0)
    data = Arrays([to_input(wave) for wave in sounds.waves], sounds.labels, dt=DIGITS.dt)
    return sounds, data, sound.transform(DIGITS.dt, 1500.0)


def digits(path, seed, testing=True):
    """Return batches to train with, and the others: takes 5 to 9 for a test, otherwise 10 to 14, without 5 to 9."""
    sounds, data, changed = numbers(path)
    tested, left_out = (sounds.where("take", range(*takes)) for takes in ((5, 10) if testing else (10, 15), (5, 10)))
    rest = Subset(data, np.flatnonzero(~tested & ~left_out))
    loader = Loader(rest, 32, shuffle=True, seed=seed, transform=changed, lengths=True)
    others = Loader(Subset(data, np.flatnonzero(tested)), 100, lengths=True)
    return chain.from_iterable(loader for _ in range(DIGITS.batches)), others


def parameters(task, kind, width):
    """Return the number of weights and delays of a network, without those of normalization and of neurons."""
    sizes = [task.inputs, *[width] * task.layers]
    weights = sum(a * b for a, b in pairwise(sizes))
    more = {"synapses": weights, "axons": sum(sizes), "recurrent": task.layers * width**2}
    return weights + width * task.classes + more[kind]


def network(task, kind, neuron, seed):
    """Return a network of the task's size, and its delays."""
    rng, delays, stages = np.random.default_rng(seed), [], []
    width = min(range(1, 1000), key=lambda n: abs(parameters(task, kind, n) - task.size))

    def neurons():
        if neuron == "LIF":
            return cs.LIF(task.tau, dt=task.dt)
        ranges = (30, 240), (400, 4000), (0, 1), (0, 2)
        constants = (rng.uniform(*each, width) for each in ranges)
        return cs.AdLIF(*constants, dt=task.dt, trained=True, bounds=(20, 6000), scale_rho=0.04)

    def axons(count):
        if kind == "axons":
            mode = "linear" if task.digits and not stages else "floor"
            stages.append(cs.Delay(count, dt=task.dt, max_delay=task.longest, initial=task.longest, mode=mode))
            delays.append(stages[-1].delay)

    for inputs in [task.inputs, width][: task.layers]:
        axons(inputs)
        if kind == "synapses":
            of_synapses = cs.SynapticDelays(task.longest, dt=task.dt, steps=task.batches * 2 // 3, width=task.width)
            stages.append(cs.Dense(inputs, width, delays=of_synapses))
            delays.append(of_synapses.delay)
        else:
            stages.append(cs.Dense(inputs, width))
        if task.digits:
            stages.append(cs.BatchNorm(width, trained=True))
        else:
            stages[-1].weight.data[:] = rng.uniform(0.4, 0.9, (inputs, width))
        stages.append(cs.Recurrent(cs.Dense(width, width), neurons()) if kind == "recurrent" else neurons())
        if task.digits:
            stages.append(cs.Dropout(0.1))
    axons(width)
    stages.append(cs.ReadOut(width, task.classes, tau=task.readout, dt=task.dt, bias=task.digits))
    return cs.Sequential(*stages), delays


def learn(task, kind, neuron, seed, rate, batches, others):
    """Train a network; return it and its accuracy in % for other batches."""
    cs.seed(seed)
    net, delays = network(task, kind, neuron, seed)
    if kind == "recurrent":
        cs.calibrate(net, [next(batches)])
    of_delays = {id(each) for each in delays}
    weights = [each for each in net.parameters() if id(each) not in of_delays]
    # Delays move by up to 3 steps for a rate of 1, where weights do by 1; of digits by 5 for a share of 1.
    relative = {"relative": True, "warmup": 30} if task.digits else {}
    rates = [rate, rate * task.dt * (5 if task.digits else 3)][: 1 + bool(delays)]
    groups = [{"params": weights, **relative}, {"params": delays}][: len(rates)]
    optimizer = cs.Adam(groups, lr=rate, clip_norm=1000.0)
    loss = cs.CrossEntropyLoss("mean", dt=task.dt, smoothing=0.1 if task.digits else 0.0)
    for step, (x, labels) in zip(range(task.batches), batches, strict=False):
        for group, highest in zip(optimizer.groups, rates, strict=True):
            group.lr = highest * (0.5 + 0.5 * math.cos(math.pi * step / task.batches))
        optimizer.zero_grad()
        loss(net(x), labels).backward()
        optimizer.step()
    net.eval()
    with cs.no_grad():
        right = np.concatenate([cs.classify(net(x), over="mean") == labels for x, labels in others])
    return net, 100 * float(right.mean())


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("kind", nargs="?", choices=KINDS, default="synapses")
    parser.add_argument("--data", help="an npz file of spoken digits: audio, start, label, speaker, take")
    parser.add_argument("--neuron", choices=["LIF", "AdLIF"], default="LIF")
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batches", type=int, help="of training")
    options = parser.parse_args(arguments)
    task = SimpleNamespace(**vars(DIGITS if options.data else ORDER))
    task.batches = options.batches or task.batches
    batches = digits(options.data, options.seed) if options.data else order(options.seed)
    _, accuracy = learn(task, options.kind, options.neuron, options.seed, options.rate, *batches)
    print(f"{accuracy:.2f} % of the test recordings are right")


if __name__ == "__main__":
    main()
