"""Train a network to recognize spoken digits: from waves through spikes and recurrent layers to the digit.

    python spoken_digits.py recordings.npz               # minutes; docs/spoken-digits.md says what is in the file
    python spoken_digits.py recordings.npz --test-speaker theo

The test set are the takes 5 to 9 of all speakers, or all recordings of a speaker, who is not heard in training then.
The recipe is that of `cuslayer train spoken-digits`.
"""

from __future__ import annotations

import argparse

import numpy as np

import cuslayer as cs
from cuslayer import data
from cuslayer.network.notation import Word
from cuslayer.optim import cosine_decay

DT = 10.0  # ms
LEVELS = tuple(round(0.4 + 0.04 * i, 2) for i in range(15))


def network(inputs, srm):
    """Return two hidden layers whose neurons also get their own spikes, and ten leaky integrators without spikes."""
    hidden = Word("256r", dropout=0.2)
    return cs.Network([Word(str(inputs)), hidden, hidden, Word("10out")], srm)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="an npz file: audio, start, label, speaker, take")
    parser.add_argument("--test-speaker", help="the speaker whose recordings are the test set")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    cs.seed(options.seed)
    sounds = data.read_sounds(options.data)
    bands = data.Bands(8000.0, channels=40, low=60.0, dt=DT, window=32.0)
    to_spikes = data.AudioToSpikes(bands, data.Levels(LEVELS, falling=True), duration=1300.0, lead=60.0)
    recordings = data.Waves(sounds.waves, sounds.labels, to_spikes, classes=10)
    held = ("speaker", [options.test_speaker]) if options.test_speaker else ("take", list(range(5, 10)))
    tested = sounds.where(*held)
    few, many = (data.Subset(recordings, np.flatnonzero(chosen)) for chosen in (tested, ~tested))
    # Other speeds, times and pitches of voice in each epoch, and a part of time and of the bands left out.
    groups = to_spikes.populations
    changes = (data.Stretch(1.15), data.RandomShift(50.0), data.ShiftChannels(2, groups), data.Mask(50.0, 4, groups))
    train_loader = data.Loader(many, 32, shuffle=True, seed=options.seed, transform=data.Compose(changes))
    test_loader = data.Loader(few, 100)

    # A recurrent layer feeds an error back once per step, times the surrogate: scale_rho lets it fade.
    srm = cs.SRM(theta=10, tau_sr=4 * DT, tau_ref=DT, scale_ref=2, tau_rho=1, scale_rho=0.01, dt=DT)
    net = network(to_spikes.neurons, srm)
    print(cs.calibrate(net, train_loader, rate=4.0))
    error = cs.CrossEntropyLoss("mean", dt=DT)
    rate = cosine_decay(0.06, epochs=options.epochs)
    optimizer = cs.Adam(net.parameters(), lr=rate, relative=True, warmup=50, amsgrad=True)
    for number in range(options.epochs):
        optimizer.epoch = number
        net.train()
        for spikes, labels in train_loader:
            value = error(net(spikes), labels)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        net.train(False)
        with cs.no_grad():
            # The read-out is (T, N, 10): the answer is the largest mean over time.
            right = [cs.classify(net(spikes), over="mean") == labels for spikes, labels in test_loader]
        print(f"epoch {number + 1}: test {np.concatenate(right).mean():.2%}")


if __name__ == "__main__":
    main()
