"""Clipping of gradients by the optimizers: by value, then by the norm of all of them."""

import math

import numpy as np
import pytest
import yaml

import cuslayer as cs
from cuslayer import jit
from cuslayer.kernels import cpu
from cuslayer.parameter import Bounded
from cuslayer.training import load_config
from cuslayer.training.config import Config, OptimizerConfig

MAKE = {"SGD": cs.SGD, "Adam": cs.Adam, "NAdam": cs.NAdam}


def parameters(*values):
    found = [cs.Tensor(np.zeros(len(g)), requires_grad=True) for g in values]
    for p, g in zip(found, values, strict=True):
        p.grad = np.array(g)
    return found


def moves(values, **options):
    given = parameters(*values)
    cs.SGD(given, lr=1.0, **options).step()
    return [(-p.data).tolist() for p in given]


def test_by_norm_by_value_and_by_both():
    values = [[3.0, 0.0], [0.0, -4.0]]
    assert moves(values) == values
    assert moves(values, clip_norm=5.0) == values
    assert np.allclose(moves(values, clip_norm=1.0), [[0.6, 0.0], [0.0, -0.8]])
    assert moves(values, clip_value=3.5) == [[3.0, 0.0], [0.0, -3.5]]
    # By value first: of 3 and 3, the norm is 3 sqrt(2).
    assert np.allclose(moves(values, clip_value=3.0, clip_norm=1.0), [[math.sqrt(0.5), 0.0], [0.0, -math.sqrt(0.5)]])


@pytest.mark.parametrize("name", MAKE)
def test_every_optimizer_moves_by_the_clipped_gradient(name):
    clipped, plain = parameters([3.0], [-4.0]), parameters([0.6], [-0.8])
    optimizer = MAKE[name](clipped, lr=0.1, clip_norm=1.0)
    optimizer.step()
    MAKE[name](plain, lr=0.1).step()
    for ours, theirs in zip(clipped, plain, strict=True):
        np.testing.assert_allclose(ours.data, theirs.data, rtol=1e-12)
        np.testing.assert_allclose(ours.grad, theirs.grad, rtol=1e-12)
    assert (optimizer.clip_norm, optimizer.clip_value) == (1.0, None)


def test_frozen_parameters_and_those_without_a_gradient_do_not_count():
    given = parameters([3.0], [4.0], [100.0], [7.0])
    given[2].requires_grad, given[3].grad = False, None
    cs.SGD(given, lr=1.0, clip_norm=1.0).step()
    assert np.allclose([p.data[0] for p in given], [-0.6, -0.8, 0.0, 0.0])
    assert given[2].grad.tolist() == [100.0]
    p, g = Bounded(np.zeros(2), least=-0.5, most=0.5), np.array([30.0, 40.0])
    p.grad = g
    cs.SGD([p], lr=1.0, clip_norm=1.0).step()
    assert p.data.tolist() == [-0.5, -0.5]
    assert g.tolist() == [30.0, 40.0]


def test_the_norm_does_not_depend_on_the_number_of_cores(monkeypatch):
    g = [np.random.default_rng(1).standard_normal(100_003).astype(np.float32)]
    found = set()
    for count in (1, 2, 3):
        monkeypatch.setattr(jit, "cores", lambda count=count: count)
        found.add(cpu.optim.clip_norm(g, 1.0)[0].tobytes())
    assert len(found) == 1


@pytest.mark.parametrize("name", ["clip_norm", "clip_value"])
@pytest.mark.parametrize("make", ["SGD"])
def test_limits_that_are_none(name, make):
    for value, error, got in (
        (0, ValueError, "positive, got 0"),
        (math.inf, ValueError, "finite, got inf"),
        ("1", TypeError, "a number, got str"),
    ):
        with pytest.raises(error, match=rf"^{make}: {name} must be {got}$"):
            MAKE[make](parameters([1.0]), **{name: value})
    with pytest.raises(ValueError, match=rf"^{make}: group 0's option '{name}' is unknown"):
        MAKE[make]([{"params": parameters([1.0]), name: 1.0}])


def test_the_configuration():
    config = Config(optimizer=OptimizerConfig("SGD", clip_norm=2.0, clip_value=0.5))
    assert load_config(yaml.safe_load(config.to_yaml())) == config
    optimizer = config.make_optimizer(parameters([1.0]))
    assert (optimizer.clip_norm, optimizer.clip_value) == (2.0, 0.5)
    changed = Config().with_options(clip_norm=3.0, lr=0.02)
    assert (changed.optimizer.clip_norm, changed.optimizer.clip_value, changed.optimizer.lr) == (3.0, None, 0.02)
    assert load_config(yaml.safe_load(Config().to_yaml())).optimizer.clip_norm is None
