"""`output_shape` of each layer against the shape of a real output."""

from __future__ import annotations

import re

import numpy as np
import pytest

import cuslayer as cs

FRAMES = [(7, 9, 4), (8, 5, 4), (1, 6, 4), (2, 2, 4)]
LAYERS = [
    cs.Average(2),
    cs.Conv(4, 3, 1),
    cs.Conv(4, 3, 3),
    cs.Conv(4, 3, 3, padding=1),
    cs.Conv(4, 6, (3, 2), stride=(2, 3), padding=(1, 0), groups=2),
    cs.Conv(4, 3, 3, stride=3, padding=2, dilation=(2, 1)),
    cs.ConvTranspose(4, 3, 2),
    cs.ConvTranspose(4, 3, 4, stride=2, padding=1),
    cs.ConvTranspose(4, 6, (3, 5), stride=(3, 2), padding=(0, 3), groups=2, output_padding=(2, 1)),
    cs.ConvTranspose(4, 3, 3, stride=2, dilation=3, output_padding=2),
    cs.Delay(4, dt=1.0),
    cs.Dense((7, 9, 4), 5),
    cs.Dense(100, 5),
    cs.Dropout(0.5),
    cs.FilterBank(3, 6),
    cs.Pool(2, gain=1.0),
    cs.Pool(3, stride=2, padding=1, gain=1.0),
    cs.Pool((2, 3), stride=(3, 1), dilation=2, gain=1.0),
    cs.Shift(2.0),
    cs.TemporalFilter(cs.SRM()),
    cs.Unpool(2, gain=1.0),
    cs.Unpool((3, 2), stride=(2, 4), padding=(3, 0), dilation=(1, 2), gain=1.0),
]


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_the_shape_is_that_of_the_output_and_so_is_the_error(layer):
    for shape in FRAMES:
        try:
            real = layer(np.zeros((2, 3, *shape), bool)).shape
        except ValueError as problem:
            with pytest.raises(ValueError, match=f"^{re.escape(str(problem))}$"):
                layer.output_shape(shape)
        else:
            assert (2, 3, *layer.output_shape(shape)) == real
    assert layer.output_shape(None) == {cs.Average: (2,), cs.Dense: (5,)}.get(type(layer))


def test_a_window_needs_frames_and_the_channels_of_its_weight():
    for layer in (cs.Conv(4, 3, 1), cs.ConvTranspose(4, 3, 2), cs.Pool(2, gain=1.0), cs.Unpool(2, gain=1.0)):
        name = type(layer).__name__
        with pytest.raises(ValueError, match=rf"^{name}: x must be \(T, N, H, W, C\), got shape \('T', 'N', 8\)$"):
            layer.output_shape((8,))
    with pytest.raises(ValueError, match=r"^Conv: x has 3 channels, weight expects 4$"):
        cs.Conv(4, 3, 1).output_shape((5, 5, 3))
    with pytest.raises(ValueError, match=r"^ConvTranspose: x has 3 channels, weight expects 4$"):
        cs.ConvTranspose(4, 3, 1).output_shape((5, 5, 3))


def test_user_written_layers():
    class Same(cs.Layer):
        keeps_shape = True

    assert cs.Layer().output_shape((3, 4)) is None
    assert Same().output_shape((3, 4)) == (3, 4)
