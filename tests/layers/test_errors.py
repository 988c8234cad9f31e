"""What layers and their operations refuse: one line with the operation, the argument, the rule and what came."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import functions as f
from tests.support.refused import refused

SRM = cs.SRM()
GRADED = cs.LIF(graded=True).spiking
X, FRAMES = np.ones((3, 1, 3)), np.ones((2, 1, 5, 5, 3))
CONV, UP, TAPS = np.ones((3, 3, 3, 4)), np.ones((3, 3, 4, 3)), np.ones((2, 2, 1, 1))
PASS = {"spiking": SRM.spiking}
NORM = cs.WeightNorm()
cs.Dense(3, 2, weight_hook=NORM)

REFUSED = {
    "dense: x has 3 features, weight expects 2": lambda: f.dense(X, np.ones((2, 4))),
    "dense: x must be (T, N, C)": lambda: f.dense(X[:, 0], np.ones((3, 4))),
    "dense: weight must be (inputs, outputs)": lambda: f.dense(X, np.ones(3)),
    "conv: x has 3 channels, weight expects 2": lambda: f.conv(FRAMES, CONV[:, :, :2]),
    "conv: weight has 4 outputs, not a multiple of 3 groups": lambda: f.conv(FRAMES, CONV[:, :, :1], groups=3),
    "conv: the window spans 6 rows, the padded image has 5": lambda: f.conv(FRAMES, np.ones((6, 1, 3, 4))),
    "conv: the window spans 7 columns, the padded image has 5": lambda: f.conv(FRAMES, CONV, dilation=(1, 3)),
    "Conv: out_channels must be a multiple of 2 groups": lambda: cs.Conv(2, 3, 3, groups=2),
    "Conv: in_channels must be a multiple of 2 groups": lambda: cs.Conv(3, 2, 3, groups=2),
    "Conv: bias must be (3,)": lambda: cs.Conv(2, 3, 3, bias=cs.Tensor([1.0, 2.0])),
    "conv_transpose: x has 3 channels, weight expects 2": lambda: f.conv_transpose(FRAMES, UP[..., :2]),
    "conv_transpose: x has 3 channels, not a multiple of 2 groups": lambda: f.conv_transpose(FRAMES, UP, groups=2),
    "conv_transpose: output_padding must be smaller than stride (2, 1) or dilation (1, 3)": (
        lambda: f.conv_transpose(FRAMES, UP, stride=(2, 1), dilation=(1, 3), output_padding=(2, 0))
    ),
    "unpool: x must have columns": lambda: f.unpool(FRAMES[:, :, :, :0], kernel_size=2, gain=1.0),
    "unpool: the result must have rows": lambda: f.unpool(FRAMES, kernel_size=2, padding=(6, 0), gain=1.0),
    "weighted_pool: weight must be (kh, kw, 1, 1)": lambda: f.weighted_pool(FRAMES, np.ones((2, 2, 1, 3))),
    "SumPool: what weight_hook returns has shape": lambda: cs.SumPool(2, gain=1.0, weight_hook=lambda w: w.reshape(4))(
        FRAMES
    ),
    "dense_neuron: spiking must be of neuro": lambda: f.dense_neuron(X, np.ones((3, 2)), spiking=GRADED),
    "dense_neuron: bias must be (2,)": lambda: f.dense_neuron(X, np.ones((3, 2)), np.ones(3), **PASS),
    "conv_neuron: bias must be (2,)": lambda: f.conv_neuron(FRAMES, np.ones((2, 2, 3, 2)), np.ones(1), **PASS),
    "dense_neuron: constants must be tau": lambda: f.dense_neuron(X, np.ones((3, 2)), spiking=cs.LIF().spiking),
    "pool_neuron: x must be (T, N, H, W, C)": lambda: f.pool_neuron(X, kernel_size=2, gain=1.0, **PASS),
    "leaky_integral: keep must broadcast to the neurons (3,)": lambda: f.leaky_integral(X, np.ones(2)),
    "ReadOut: tau must be positive and finite": lambda: cs.ReadOut(4, 2, tau=0),
    "ReadOut: tau must be a number or (2,)": lambda: cs.ReadOut(4, 2, tau=[1.0, 2.0, 3.0]),
    "ReadOut: tau must not be given or trained with a neuron": lambda: cs.ReadOut(4, 2, tau=2.0, neuron=SRM),
    "ReadOut: dt must be the neuron's, 1": lambda: cs.ReadOut(4, 2, dt=2.0, neuron=SRM),
    "ReadOut: bounds must be least and most": lambda: cs.ReadOut(4, 2, bounds=5.0),
    "BatchNorm: exponents must be (least, most)": lambda: cs.BatchNorm(4, exponents=(2, 1)),
    "BatchNorm: x must have 4 channels": lambda: cs.BatchNorm(4)(X),
    "BatchNorm: x must be (T, N, ": lambda: cs.BatchNorm(3)(X[:, 0]),
    "shift: delay has shape (2,), a neuron of x each has shape (3,)": lambda: f.shift(X, delay=np.ones(2)),
    "shift: delay must be finite": lambda: f.shift(X, delay=cs.Tensor(np.nan, requires_grad=True)),
    "fir: weight must be (taps,), one tap at least": lambda: f.fir(X, np.ones(0)),
    "filter_bank: weight must be (count, taps), one tap at least": lambda: f.filter_bank(X, np.ones((0, 2))),
    "k_winners: k must be at most the 3 neurons that compete": lambda: cs.layers.KWinners(4)(X),
    "quantize: limits must be two numbers": lambda: cs.functions.quantize(X, 2, limits=(1, 2, 3)),
    "quantize: limits must be multiples of step 2": lambda: cs.functions.quantize(X, 2, limits=(-255, 254)),
    "quantize: limits must ascend": lambda: cs.functions.quantize(X, 2, limits=(4, -4)),
    "spread: tau must be from 5 to 50 where it": lambda: cs.LIF(trained=True, bounds=(5, 50)).spread(3, tau=(2, 9)),
    "spread: omega must be from 0 to 95 where": lambda: cs.neurons.BalancedResonateAndFire(
        dt=10.0, trained=True
    ).spread(3, omega=(2, 95.1)),
    "weight_norm: scale must have shape (4, 3), or 1 in it": lambda: f.weight_norm(np.ones((4, 3)), np.ones((1, 2))),
    "WeightNorm: it must be the weight_hook of a layer, got a call without one": lambda: cs.WeightNorm()(cs.Tensor(X)),
    "WeightNorm: a hook serves one layer, Conv is its second": lambda: cs.Conv(1, 2, 3, weight_hook=NORM),
    "Recurrent: layer must go from a population to itself, got Dense(3": lambda: cs.Recurrent(cs.Dense(3, 4), cs.LIF()),
    "Recurrent: layer must go from a population to itself, got Conv": lambda: cs.Recurrent(cs.Conv(2, 2, 3), cs.LIF()),
    "Recurrent: layer must go from a population to itself, got Conv(2, 2, (3, 3), stride": (
        lambda: cs.Recurrent(cs.Conv(2, 2, 3, padding=1, stride=2), cs.LIF())
    ),
    "Recurrent: layer must have no bias": lambda: cs.Recurrent(cs.Dense(3, 3, bias=True), cs.LIF()),
    "Recurrent: delay must be at least a step of 2 ms": lambda: cs.Recurrent(cs.Dense(3, 3), cs.LIF(dt=2.0), delay=1.0),
    "recurrent: weight must be (3, 3) for x's neurons (3,)": lambda: cs.Recurrent(cs.Dense(4, 4), cs.LIF())(X),
    "recurrent: a convolution must keep the frames (3,": lambda: cs.Recurrent(cs.Conv(1, 1, 3, padding=1), cs.LIF())(X),
    "dense: weight must be float32 or float64": lambda: f.dense(X, np.ones((3, 4), bool)),
    "conv: weight must be float32 or float64": lambda: f.conv(FRAMES, CONV > 0),
    "SumPool: weight_hook must return a Tensor": lambda: cs.SumPool(2, gain=1.0, weight_hook=lambda w: w.data)(FRAMES),
    "Dense: weight_hook must be callable": lambda: cs.Dense(3, 2, weight_hook=(abs, 1)),
    "Dense: bias must be a bool or a Tensor": lambda: cs.Dense(4, 3, bias=1),
    "leaky_integral: x must be the weighted input of a layer": lambda: f.leaky_integral(X > 0, np.zeros(1)),
    "ReadOut: tau must be a number or an array of numbers": lambda: cs.ReadOut(4, 2, tau="fast"),
    "ReadOut: neuron must be a neuron": lambda: cs.ReadOut(4, 2, neuron=3),
    "BatchNorm: mean_hook must be callable": lambda: cs.BatchNorm(4, mean_hook=3),
    "shift: delay must be numbers": lambda: f.shift(X, delay=True),
    "TemporalFilter: neuron must be a neuron": lambda: cs.layers.TemporalFilter(3),
    "k_winners: x must be float": lambda: f.k_winners(X > 0, k=1),
    "quantize: limits must be a number": lambda: cs.functions.quantize(X, 2, limits=(None, 4)),
    "Recurrent: layer must be Dense or Conv": lambda: cs.Recurrent(cs.SumPool(2, gain=1.0), cs.LIF()),
    "Recurrent: neuron must be a neuron": lambda: cs.Recurrent(cs.Dense(3, 3), cs.LIF),
    "Recurrent: neuron must be SRM, or neurons that are wri": lambda: cs.Recurrent(cs.Dense(3, 3), cs.LIF(graded=True)),
    "recurrent: x must be": lambda: cs.Recurrent(cs.Dense(3, 3), cs.LIF())(X > 0),
    "Half: a layer must define __call__": lambda: type("Half", (cs.Layer,), {})()(X),
}


@pytest.mark.parametrize("message", REFUSED)
def test_error(message):
    refused(message, REFUSED[message])
