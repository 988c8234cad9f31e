"""On the CPU one pass updates all weights of a type: with the bits of one by one, on any number of cores."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import jit
from cuslayer.kernels import cpu

# A piece has 32,768 elements.
SHAPES = [(3,), (0,), (70, 1000), (32768,), (1, 32769), (5, 7)]
KINDS = {
    "SGD": lambda groups: cs.SGD(groups, momentum=0.9),
    "Adam": lambda groups: cs.Adam(groups, betas=(0.8, 0.99)),
    "NAdam": lambda groups: cs.NAdam(groups, momentum_decay=None),
}


def parameters(dtype):
    generator = np.random.default_rng(0)
    found = [cs.Tensor(generator.standard_normal(shape).astype(dtype), requires_grad=True) for shape in SHAPES]
    for p in found:
        p.grad = generator.standard_normal(p.shape).astype(dtype)
    return found


def groups(some, kind):
    """Return two groups, of which one has AMSGrad, weight decay and a rate of its own."""
    other = {"lr": 0.5, "weight_decay": 0.1, **({} if kind == "SGD" else {"amsgrad": True})}
    return [{"params": some[:3]}, {"params": some[3:], **other}]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_bits_are_those_of_weights_one_by_one(kind, dtype, monkeypatch):
    together, alone = parameters(dtype), parameters(dtype)
    whole = KINDS[kind](groups(together, kind))

    class Own(type(whole)):
        """Updates one by one, since it has an _update of its own."""

        def _update(self, *arguments):
            super()._update(*arguments)

    monkeypatch.setattr("tests.optim.test_one_pass.cs." + kind, Own)
    single = KINDS[kind](groups(alone, kind))
    for cores in (1, 2, 3):
        monkeypatch.setattr(jit, "cores", lambda cores=cores: cores)
        whole.step()
        single.step()
        for one, other in zip(together, alone, strict=True):
            assert one.data.tobytes() == other.data.tobytes()
    ours, theirs = whole.state(), single.state()
    assert {name: a.tobytes() for name, a in ours.items()} == {name: a.tobytes() for name, a in theirs.items()}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_piece_moves_by_the_formula(dtype):
    """To the bit: half of a gradient is exact."""
    found = parameters(dtype)
    expected = [p.data - dtype(0.5) * p.grad for p in found]
    cs.SGD(found, 0.5).step()
    for p, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(p.data, wanted)


def test_weights_of_a_type_are_one_call(monkeypatch):
    calls = []
    monkeypatch.setattr(cpu.optim, "adam_each", lambda w, *rest: calls.append(len(w)))
    cs.Adam([*parameters(np.float32), *parameters(np.float64)[:2]]).step()
    assert calls == [6, 2]


def test_what_does_not_fit_is_refused_before_any_weight_moves():
    w = [np.ones(3, np.float32), np.ones(4, np.float32)]
    numbers = np.ones((2, 3), np.float32)
    message = r"^optimizer: g must have the type and size of w, float32 and 4, got float32 and 3$"
    with pytest.raises(ValueError, match=message):
        cpu.optim.sgd_each(w, [w[0], w[0]], [w[0].copy(), w[1].copy()], numbers)
    with pytest.raises(ValueError, match=r"^optimizer: v must have the type .* got float64 and 3$"):
        cpu.optim.sgd_each(w, w, [w[0].astype(float), w[1].copy()], numbers)
    with pytest.raises(ValueError, match=r"^optimizer: g must be C-contiguous, got strides \(8,\) for shape \(3,\)$"):
        cpu.optim.sgd_each(w[:1], [np.ones(6, np.float32)[::2]], w[:1], numbers[:1])
    assert w[0].tolist() == [1.0] * 3
