"""Train a convolutional network, 16c5-2a-32c3-2a-64c3-10, to classify digits seen by an event camera.

    python nmnist_cnn.py                          # the embedded digits
    python nmnist_cnn.py --data NMNISTsmall       # .bs2 recordings with a training and a test list, or N-MNIST itself
    python nmnist_cnn.py --limit 64               # a few recordings an epoch, as a trial

The target is 60 spikes of the right output neuron in 300 ms, and 10 of the others; the neuron with most spikes is the
answer. The loop over batches is written out in nmnist_mlp.py; here a Trainer runs it.
"""

from __future__ import annotations

import argparse
import time
from itertools import islice

import cuslayer as cs
from cuslayer.data import Digits, Loader, open_folder
from cuslayer.training import Trainer

STEPS = 300  # of 1 ms


def network(srm):
    """Return convolutions, padded by one, and sum pooling, each followed by its neurons.

    At the initial scales a third to two thirds of all bins after a pooling layer hold a spike. The Trainer calibrates
    weights and gains before the first step, so that each layer fires at 30 Hz.
    """
    pool = [cs.SumPool(2, gain=srm.pool_gain) for _ in range(2)]
    return cs.Sequential(
        *(cs.Conv(2, 16, 5, padding=1), srm),  # 34 x 34 pixels become 32 x 32
        *(pool[0], srm),  # 16 x 16
        *(cs.Conv(16, 32, 3, padding=1), srm),
        *(pool[1], srm),  # 8 x 8
        *(cs.Conv(32, 64, 3, padding=1), srm),
        *(cs.Dense((8, 8, 64), 10), srm),
    )


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data", help="a folder of recordings; left out: the embedded digits")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=0.1, help="relative to the size of the initial weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=0, help="stop an epoch after so many recordings; 0: never")
    options = parser.parse_args(arguments)

    cs.seed(options.seed)
    train_set, test_set = open_folder(options.data) if options.data else (Digits("train"), Digits("test"))
    train_loader = Loader(train_set, options.batch, steps=STEPS, shuffle=True)
    test_loader = Loader(test_set, options.batch, steps=STEPS)
    batches = -(-options.limit // options.batch) or None

    srm = cs.SRM(theta=10, tau_sr=10, tau_ref=1, scale_ref=2, tau_rho=1, scale_rho=1)
    net = network(srm)
    error = cs.SpikeCountLoss(srm, true=60, false=10, window=(0, STEPS))
    optimizer = cs.Adam(net.parameters(), lr=options.lr, relative=True, warmup=30, amsgrad=True)
    trainer = Trainer(net, error, optimizer, progress=True)

    for number in range(1, options.epochs + 1):
        start = time.perf_counter()
        trained = trainer.train(islice(train_loader, batches))
        seconds = time.perf_counter() - start
        tested = trainer.test(islice(test_loader, batches))
        print(f"epoch {number}: train {trained.accuracy:.2%}, test {tested.accuracy:.2%}, {seconds:.1f} s")


if __name__ == "__main__":
    main()
