"""Emulated CUDA kernel of dropout against Philox in NumPy: equal to the bit."""

import numpy as np
import pytest

from cuslayer import backend
from cuslayer.backend import numeric_type
from cuslayer.kernels import cpu
from cuslayer.kernels.random import gpu as launcher
from tests.kernels import test_twins
from tests.kernels.test_twins import emulator as emulator
from tests.kernels.test_twins import same_bits
from tests.support import philox


@pytest.mark.parametrize("dtype", ["float32", "float64", "bool"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 1, 127), (9, 128), (1, 3, 43), (17, 5, 7, 4), (30, 700), (4, 0), (0, 5)])
def test_dropout(shape, dtype, monkeypatch):
    monkeypatch.setattr(launcher, "_THREADS", 64)
    x, columns = np.random.default_rng(0).standard_normal(shape).astype(dtype), int(np.prod(shape[1:]))
    x = x > 0 if dtype == "bool" else x
    key = 0x7A0938225B9F31D0
    for p, draw in ((0.0, 0), (0.3, 1), (0.5, 2**32 - 1), (1 - 2.0**-53, 2**40 + 5)):
        backend.load_generator_state(backend.generator_state() | {"device": [key, draw]})
        for number in (draw, draw + 1) if columns else (draw,):
            y, factors = test_twins.gpu.random.dropout(x, p)
            same_bits(factors, philox.dropout_scale(key, number, columns, p, numeric_type(x.dtype)).reshape(shape[1:]))
            same_bits(y, x * factors)
            theirs = cpu.random.dropout(x, p)
            assert [(a.shape, a.dtype) for a in theirs] == [(a.shape, a.dtype) for a in (y, factors)]
        assert backend.generator_state()["device"] == [key, draw + 2 * bool(columns)]


def test_a_neuron_is_silent_if_its_word_is_below_the_bound():
    word = philox.philox(np.zeros((1, 4), int), (5, 0))[0, 0]
    for bound, silent in ((word, False), (word + 1, True)):
        backend.load_generator_state(backend.generator_state() | {"device": [5, 0]})
        assert (test_twins.gpu.random.dropout(np.zeros((1, 1, 1)), int(bound) / 2**32)[1] == 0).all() == silent
