"""Train a network to recognize spoken digits: from waves through bands and a recurrent layer to the digit.

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
# Time constants in ms and couplings of adaptation, of which each neuron begins with its own.
SPREAD = (("tau_u", 30.0, 240.0), ("tau_w", 400.0, 4000.0), ("a", 0.0, 1.0), ("b", 0.0, 2.0))


def network(inputs):
    """Return a hidden layer whose neurons also get their own spikes, and ten leaky integrators without spikes."""
    neuron = cs.AdLIF(tau_u=135.0, tau_w=2200.0, scale_rho=0.04, trained=True, bounds=(20.0, 6000.0), dt=DT)
    hidden = Word("160r", weight_scale=10.0, spread=SPREAD, dropout=0.2)
    return cs.Network([Word(str(inputs)), hidden, Word("10out", tau=400.0, bias=True)], neuron)


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("data", help="an npz file: audio, start, label, speaker, take")
    parser.add_argument("--test-speaker", help="the speaker whose recordings are the test set")
    parser.add_argument("--epochs", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    cs.seed(options.seed)
    sounds = data.read_sounds(options.data)
    to_numbers = data.AudioToNumbers(data.Bands(8000.0, channels=32, low=100.0, dt=DT, window=32.0), duration=1500.0)
    recordings = data.Arrays([to_numbers(wave) for wave in sounds.waves], sounds.labels, classes=10, dt=DT)
    held = ("speaker", [options.test_speaker]) if options.test_speaker else ("take", list(range(5, 10)))
    tested = sounds.where(*held)
    few, many = (data.Subset(recordings, np.flatnonzero(chosen)) for chosen in (tested, ~tested))
    # In each epoch other voices, microphones and noise.
    change = data.OtherVoice(to_numbers, stretch=1.15, warp=1.1, gain=5.0, noise=(-65.0, -30.0))
    loaders = data.Loader(many, 32, shuffle=True, seed=options.seed, transform=change), data.Loader(few, 100)

    net = network(to_numbers.neurons)
    error = cs.CrossEntropyLoss("mean", dt=DT, smoothing=0.05)
    rate = cosine_decay(0.02, epochs=options.epochs)
    optimizer = cs.Adam(net.parameters(), lr=rate, relative=True, warmup=30, amsgrad=False, clip_norm=1000.0)
    for number in range(options.epochs):
        optimizer.epoch = number
        net.train()
        for numbers, labels in loaders[0]:
            value = error(net(numbers), labels)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        net.eval()
        with cs.no_grad():
            # The read-out is (T, N, 10): the answer is the largest mean over time.
            right = [cs.classify(net(numbers), over="mean") == labels for numbers, labels in loaders[1]]
        print(f"epoch {number + 1}: test {np.concatenate(right).mean():.2%}")


if __name__ == "__main__":
    main()
