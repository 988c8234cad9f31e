"""Numbers that float64 has and float32 has not are refused at every door, in one line; none becomes infinite."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.layers import Shift
from cuslayer.loss import RateRegularizer
from tests.support.kinds import Offset

NET = cs.Network("4-3-2", cs.SRM())
BANK = cs.data.AudioToNumbers(cs.data.Bands(8000), duration=10.0)
FRAME = (5, 1, 4, 4, 1)


def full(shape, value):
    return np.full(shape, value, np.float64)


DOORS = {
    "network": lambda x: NET(full((5, 1, 4), x)),
    "stream": lambda x: NET.stream()(full((5, 1, 4), x)),
    "calibrate": lambda x: cs.calibrate(NET, [(full((5, 1, 4), x), [0])]),
    "load_state": lambda x: NET.load_state({name: full(p.shape, x) for name, p in NET.state().items()}),
    "dense": lambda x: cs.functions.dense(full((5, 1, 4), x), np.ones((4, 3), np.float32)),
    "conv": lambda x: cs.Conv(1, 2, 3)(full(FRAME, x)),
    "conv_transpose": lambda x: cs.layers.ConvTranspose(1, 2, 3)(full(FRAME, x)),
    "fir": lambda x: cs.functions.fir(full((5, 1, 4), x), np.ones(3, np.float32)),
    "batch_norm": lambda x: cs.BatchNorm(4)(full((5, 1, 4), x)),
    "tensor": lambda x: cs.Tensor([x]),
    "bounded": lambda x: cs.Bounded([[x]], least=0.0),
    "long double": lambda x: cs.Tensor(np.array([x], np.longdouble)),
    "arrays": lambda x: cs.data.Arrays(full((2, 5, 3), x), [0, 1]),
    "a list of arrays": lambda x: cs.data.Arrays([full((5, 3), x)], [0]),
    "target numbers": lambda x: cs.data.Arrays(np.ones((2, 5, 3)), full(2, x), targets="numbers"),
    "target trains": lambda x: cs.data.Arrays(np.ones((2, 5, 3)), full((2, 5, 3), x)),
    "error": lambda x: cs.MeanSquaredErrorLoss()(cs.Tensor(np.ones((5, 1, 2))), full((1, 2), x)),
    "wave": lambda x: BANK(full(8000, x)),
    "delay": lambda x: cs.Delay(3, dt=1.0, initial=abs(x)),
    "longest delay": lambda x: cs.Delay(3, dt=1.0, max_delay=abs(x)),
    "word": lambda x: cs.Network(
        [cs.network.Word("4"), cs.network.Word("2", delay=True, initial_delay=abs(x))], cs.SRM()
    ),
    "shift": Shift,
    **{kind.__name__: lambda x, kind=kind: kind(2, gain=x) for kind in (cs.SumPool, cs.layers.Unpool)},
    "pool_neuron": lambda x: cs.functions.pool_neuron(full(FRAME, 1), kernel_size=2, gain=x, spiking=cs.SRM().spiking),
    "filters": lambda x: cs.layers.FilterBank(2, 3, scale=abs(x)),
    "height": lambda x: cs.BatchNorm(4, height=abs(x)),
    "a constant": lambda x: Offset(level=x).spiking,
    "constants of neurons": lambda x: Offset(level=full(2, x))(full((5, 1, 2), 1).astype(np.float32)),
    "count_scale": lambda x: cs.SpikeCountLoss(cs.SRM(), count_scale=abs(x)),
    "slope": lambda x: cs.BinaryCrossEntropyLoss(slope=abs(x)),
    "offset": lambda x: cs.BinaryCrossEntropyLoss(offset=x),
    "loss_scale": lambda x: cs.Trainer(NET, cs.CrossEntropyLoss(), cs.SGD(NET.parameters(), lr=0.1), loss_scale=abs(x)),
    "shift of each": lambda x: cs.functions.shift(np.ones((5, 1, 2)), delay=[0.0, x]),
    "recurrence": lambda x: cs.Recurrent(cs.Dense(3, 3), cs.LIF(), delay=abs(x)),
    "class weights": lambda x: cs.CrossEntropyLoss(weights=[abs(x), 1.0]),
    "rates": lambda x: RateRegularizer(high=abs(x)),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("value", [1e300, -3.5e38, np.float64(1e39)])
def test_doors(door, value):
    with pytest.raises(ValueError, match=r"float32|steps of") as problem:
        DOORS[door](value)
    assert "\n" not in str(problem.value)


def test_the_largest_number_is_taken():
    most = float(np.finfo(np.float32).max)
    assert cs.Tensor([most, -most]).data.tolist() == [most, -most]
    assert np.isinf(cs.Tensor([np.inf]).data)
    assert cs.Tensor(np.array([1e300])).dtype == np.float64
