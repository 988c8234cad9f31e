"""Emulated CUDA kernel of dropout's factors against Philox in NumPy: equal to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from cuslayer import backend
from cuslayer.kernels import cpu
from tests.kernels import test_twins
from tests.kernels.test_twins import emulator as emulator
from tests.kernels.test_twins import same_bits
from tests.support import philox


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_gives_the_words_that_its_authors_published(
    counter: tuple[int, ...], key: tuple[int, int], words: str
) -> None:
    assert " ".join(f"{word:08x}" for word in philox.philox(np.array([counter]), key)[0]) == words


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 1, 127), (2, 128), (1, 3, 43), (2, 5, 7, 4), (1, 700), (4, 0), (0, 5)])
def test_dropout_scale(shape: tuple[int, ...], dtype: str) -> None:
    x, columns = np.zeros(shape, dtype), int(np.prod(shape[1:]))
    key = 0x7A0938225B9F31D0
    for p, draw in ((0.0, 0), (0.3, 1), (0.5, 2**32 - 1), (1 - 2.0**-53, 2**40 + 5)):
        backend.load_generator_state(backend.generator_state() | {"device": [key, draw]})
        for number in (draw, draw + 1) if columns else (draw,):
            factors = test_twins.gpu.dropout.scale(x, p)
            same_bits(factors, philox.dropout_scale(key, number, columns, p, dtype).reshape(shape[1:]))
            assert factors.shape == cpu.dropout.scale(x, p).shape
            assert factors.dtype == cpu.dropout.scale(x, p).dtype
        assert backend.generator_state()["device"] == [key, draw + 2 * bool(columns)]


def test_a_neuron_is_silent_if_its_word_is_below_the_bound() -> None:
    word = philox.philox(np.zeros((1, 4), int), (5, 0))[0, 0]
    for bound, silent in ((word, False), (word + 1, True)):
        backend.load_generator_state(backend.generator_state() | {"device": [5, 0]})
        assert (test_twins.gpu.dropout.scale(np.zeros((1, 1, 1)), int(bound) / 2**32) == 0).all() == silent


def test_the_share_of_silent_neurons() -> None:
    """Within four standard deviations, for neurons and for each of them over draws; draws are independent."""
    backend.seed(3)
    x, p = np.zeros((1, 40, 50), np.float32), 0.3
    draws = np.stack([test_twins.gpu.dropout.scale(x, p).ravel() for _ in range(60)])
    silent = draws == 0
    assert set(np.unique(draws)) == {np.float32(0), np.float32(1 / 0.7)}
    deviation = np.sqrt(p * (1 - p))
    assert abs(silent.mean() - p) < 4 * deviation / np.sqrt(silent.size)
    assert np.abs(silent.mean(axis=1) - p).max() < 4 * deviation / np.sqrt(2000)
    # The largest of 2,000 deviations.
    assert np.abs(silent.mean(axis=0) - p).max() < 5.5 * deviation / np.sqrt(60)
    both = np.corrcoef(silent[::2].ravel(), silent[1::2].ravel())[0, 1]
    beside = np.corrcoef(silent[:, :-1].ravel(), silent[:, 1:].ravel())[0, 1]
    assert max(abs(both), abs(beside)) < 4 / np.sqrt(silent.size / 2)
