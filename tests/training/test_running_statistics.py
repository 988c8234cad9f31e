"""Running statistics of batch normalization by micro-batches: those of the whole batch, whoever computes which."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend
from cuslayer.distributed import Context, DataParallel
from cuslayer.distributed.sums import share
from cuslayer.training import Config, Trainer
from cuslayer.training.data_of_run import load_data
from cuslayer.training.steps import RunningStatistics
from tests.support.processes import together
from tests.support.refused import refuses
from tests.support.tiny import TIMES, write_pair

pytestmark = pytest.mark.all

RNG = np.random.default_rng(7)
X = RNG.standard_normal((6, 10, 4, 3)) * [1.0, 4.0, 0.1] + [5.0, 0.0, -2.0]
PARTS = X[:, :4], X[:, 4:8], X[:, 8:]


def test_they_move_towards_those_of_the_batch():
    """Parts of different sizes and means; each is normalized by its own."""
    norm, whole = cs.BatchNorm(3, momentum=0.25), cs.BatchNorm(3, momentum=0.25)
    statistics = RunningStatistics(cs.Sequential(norm))
    rows = np.zeros((len(PARTS), statistics.columns))
    for row, part in zip(rows, PARTS, strict=True):
        with statistics.noted(row):
            y = norm(part).data
        np.testing.assert_allclose(y.mean(axis=(0, 1, 2)), 0.0, atol=1e-6)
        assert row[0] == part.size / 3
    assert norm.mean.data.tolist() == [0.0] * 3
    statistics.move(rows)
    whole(X)
    np.testing.assert_allclose(norm.mean.data, whole.mean.data, rtol=1e-6)
    np.testing.assert_allclose(norm.var.data, whole.var.data, rtol=1e-6)


def test_a_layer_that_runs_twice_counts_once():
    norm = cs.BatchNorm(3)
    statistics = RunningStatistics(cs.Sequential(norm, cs.Dense((4, 3), 2), cs.Dense(2, 3), norm))
    assert statistics.columns == 7
    row = np.zeros(7)
    with statistics.noted(row):
        norm(PARTS[0])
        norm(PARTS[1])
    both = X[:, :8]
    np.testing.assert_allclose(row, [192 + 0 * 96, *both.mean((0, 1, 2)), *both.var((0, 1, 2))], rtol=1e-12)
    # Nothing moves them without elements.
    with statistics.noted(np.zeros(7)):
        norm(X[:, :0])
    statistics.move(np.zeros((2, 7)))
    assert (norm.mean.data.tolist(), norm.var.data.tolist()) == ([0.0] * 3, [1.0] * 3)


def test_a_layer_within_another_is_refused():
    with (
        RunningStatistics(cs.Sequential(cs.Dense(3, 2))).noted(np.zeros(0)),
        refuses("BatchNorm: parallel needs each BatchNorm as a layer of the network"),
    ):
        cs.BatchNorm(3)(X)


def pieces(weight, gain):
    """Return the loss of three micro-batches, as a sum over them."""
    norm = cs.BatchNorm(3, trained=True)
    norm.gain = gain
    statistics = RunningStatistics(cs.Sequential(norm))
    found = []
    for part in PARTS:
        with statistics.noted(np.zeros(7)):
            y = norm(cs.Tensor(part) @ weight)
        found.append((y * y * y).sum())
    return found


def test_gradients():
    """That of the sum of micro-batches is their sum in the order of the tree, on any number of processes."""
    weight, gain = RNG.standard_normal((3, 3)), RNG.random(3) + 0.5
    assert cs.gradcheck(lambda w, g: sum(pieces(w, g)), weight, gain) < 1e-6
    whole = [cs.Tensor(a, requires_grad=True) for a in (weight, gain)]
    sum(pieces(*whole)).backward()

    def work(context):
        given = [cs.Tensor(a, requires_grad=True) for a in (weight, gain)]
        sums = DataParallel(context, micro=1).sums(given, len(PARTS))
        own = share(len(PARTS), context.rank, context.size)
        for leaf in own:
            pieces(*given)[leaf].backward()
            sums.add(leaf, leaf == own[-1])
        sums.finish()
        return [p.grad.tolist() for p in given]

    alone = work(Context())
    for found, wanted in zip(alone, whole, strict=True):
        np.testing.assert_allclose(found, wanted.grad, rtol=1e-12)
    for size in (2, 3, 4):
        assert together(size, work) == [alone] * size


@pytest.mark.parametrize("parallel", [None, DataParallel(Context(), micro=2)])
def test_a_look_at_the_first_batch_does_not_move_them(parallel):
    """A network that has parameters without gradients, such as these, is looked at layer by layer before a step."""
    cs.seed(1)
    srm = cs.SRM(theta=3.0)
    net = cs.Sequential(cs.BatchNorm(2, momentum=0.25), cs.Dense(2, 4), srm, cs.Dense(4, 2), srm)
    loss, optimizer = cs.SpikeCountLoss(srm, true=4, false=1), cs.SGD(net.parameters(), lr=1e-3)
    trainer = Trainer(net, loss, optimizer, calibrate=None, parallel=parallel)
    x = np.random.default_rng(2).random((8, 5, 2))
    trainer.train([(x, np.array([0, 1, 0, 1, 0]))])
    np.testing.assert_allclose(net[0].mean.data, 0.25 * x.mean(axis=(0, 1)), rtol=1e-5)
    np.testing.assert_allclose(net[0].var.data, 0.75 + 0.25 * x.var(axis=(0, 1)), rtol=1e-5)


def test_reading_the_data_of_a_run_does_not_move_them(tmp_path):
    config = Config(error=TIMES, layers=("5", "4", "5"), duration=30.0, data=str(write_pair(tmp_path / "pair")))
    net = config.network()
    net.layers.insert(1, cs.BatchNorm(4))
    net.layers.insert(3, cs.Dropout(0.5))
    drawn = backend.generator_state()
    load_data(config, net)
    assert net[1].var.data.tolist() == [1.0] * 4
    assert backend.generator_state() == drawn


def test_processes_begin_with_those_of_process_0():
    def work(context):
        cs.seed(1)
        srm = cs.SRM(theta=3.0)
        net = cs.Sequential(cs.BatchNorm(2), cs.Dense(2, 4), srm, cs.Dense(4, 2), srm)
        net[0].mean.data[:] = context.rank
        loss, optimizer = cs.SpikeCountLoss(srm, true=4, false=1), cs.SGD(net.parameters(), lr=1e-3)
        trainer = Trainer(net, loss, optimizer, calibrate=None, parallel=DataParallel(context, micro=2))
        trainer.train([(np.random.default_rng(2).random((8, 5, 2)), np.array([0, 1, 0, 1, 0]))])
        return net[0].mean.data.tolist()

    first, second = together(2, work)
    assert first == second == work(Context())
