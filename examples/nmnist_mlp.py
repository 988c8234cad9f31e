"""Train a dense network, 2312-512-10, to classify digits seen by an event camera.

    python nmnist_mlp.py                          # the embedded digits
    python nmnist_mlp.py --data NMNISTsmall       # .bs2 recordings with a training and a test list, or N-MNIST itself

The target is 60 spikes of the right output neuron in 300 ms, and 10 of the others; the neuron with most spikes is the
answer.
"""

from __future__ import annotations

import argparse
import time

import cuslayer as cs
from cuslayer.data import Digits, Loader, open_folder

STEPS = 300  # of 1 ms


def network(srm):
    """Return two dense layers, each followed by its neurons; the input is rows by columns by (OFF, ON)."""
    return cs.Sequential(cs.Dense((34, 34, 2), 512), srm, cs.Dense(512, 10), srm)


def epoch(net, loader, limit, learn=None):
    """Run an epoch, with `learn` after each batch if given, and return the share of correct classes."""
    right = samples = 0
    for spikes, labels in loader:  # spikes: boolean (T, N, 34, 34, 2)
        output = net(spikes)  # boolean (T, N, 10)
        if learn:
            learn(output, labels)
        right += (cs.classify(output) == labels).sum()
        samples += len(labels)
        if limit and samples >= limit:
            break
    return right / samples


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data", help="a folder of recordings; left out: the embedded digits")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=0, help="stop an epoch after so many recordings; 0: never")
    options = parser.parse_args(arguments)

    cs.seed(options.seed)
    train_set, test_set = open_folder(options.data) if options.data else (Digits("train"), Digits("test"))
    train_loader = Loader(train_set, options.batch, steps=STEPS, shuffle=True)
    test_loader = Loader(test_set, options.batch, steps=STEPS)

    srm = cs.SRM(theta=10, tau_sr=10, tau_ref=1, scale_ref=2, tau_rho=1, scale_rho=1)
    net = network(srm)
    error = cs.SpikeCountLoss(srm, true=60, false=10, window=(0, STEPS))
    optimizer = cs.Adam(net.parameters(), lr=options.lr, amsgrad=True)

    def learn(output, labels):
        optimizer.zero_grad()
        error(output, labels).backward()
        optimizer.step()

    for number in range(1, options.epochs + 1):
        start = time.perf_counter()
        trained = epoch(net, train_loader, options.limit, learn)
        seconds = time.perf_counter() - start
        with cs.no_grad():
            tested = epoch(net, test_loader, options.limit)
        print(f"epoch {number}: train {trained:.2%}, test {tested:.2%}, {seconds:.1f} s")


if __name__ == "__main__":
    main()
