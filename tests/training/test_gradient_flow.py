"""The gradient flow: the sizes by their formula, the file and the figure."""

from __future__ import annotations

import math

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.training import GradientFlow, Trainer

SRM = cs.SRM(tau_sr=4.0)


def network():
    cs.seed(3)
    return cs.Sequential(cs.Dense(6, 5), SRM, cs.Dense(5, 2), SRM)


def batches(n=3):
    rng = np.random.default_rng(5)
    return [(rng.random((20, 4, 6)) < 0.3, rng.integers(2, size=4)) for _ in range(n)]


def trainer(net, lr=0.01):
    return Trainer(net, cs.SpikeCountLoss(SRM, true=5, false=1), cs.SGD(net.parameters(), lr), calibrate=None)


@pytest.fixture
def flow(tmp_path):
    """A flow of two epochs, saved as flow.csv."""
    t = trainer(network())
    t.train(batches(5))
    t.train(batches(5))
    t.gradients.save(tmp_path / "flow.csv")
    return t.gradients


def test_the_trainer_records_the_gradients_of_a_plain_loop():
    net = network()
    loss, optimizer = cs.SpikeCountLoss(SRM, true=5, false=1), cs.SGD(net.parameters(), 0.01)
    squares = {"0 Dense": [], "2 Dense": []}
    flow = GradientFlow(net)
    for x, labels in batches(6):
        optimizer.zero_grad()
        loss(net(x), labels).backward()
        flow.add()
        for name, p in zip(squares, net.parameters(), strict=True):
            squares[name].append((p.grad.astype(float) ** 2).mean())
        optimizer.step()
    whole = {name: pytest.approx(math.sqrt(np.mean(each)), rel=1e-5) for name, each in squares.items()}
    assert flow.end_epoch() == whole
    t = trainer(network())
    t.train(batches(6))
    t.test(batches())
    (sizes,) = t.gradients.epochs
    fourth = {name: pytest.approx(math.sqrt(np.mean(each[::4])), rel=1e-5) for name, each in squares.items()}
    assert sizes == fourth != whole
    assert all(size > 0 for size in sizes.values())
    t.train(batches())
    assert len(t.gradients.epochs) == 2
    assert t.gradients.epochs[0] == sizes


def test_an_epoch_starts_from_zero():
    t, other = trainer(network(), lr=0.0), trainer(network(), lr=0.0)
    t.train(batches(5))
    t.train(batches(1))
    other.train(batches(1))
    assert t.gradients.epochs[0] != t.gradients.epochs[1] == other.gradients.epochs[0]


def test_an_epoch_without_a_batch_is_not_recorded():
    t = trainer(network())
    t.train([])
    assert t.gradients.epochs == []


def test_a_parameter_without_a_gradient_counts_as_zero():
    net = network()
    flow = GradientFlow(net)
    flow.add()
    assert flow.end_epoch() == {"0 Dense": 0.0, "2 Dense": 0.0}


def test_several_parameters_of_a_layer_are_numbered():
    class Two(cs.Layer):
        def __init__(self):
            self.a, self.b = (cs.Tensor(np.full(3, v), requires_grad=True) for v in (1.0, 2.0))

        def parameters(self):
            return [self.a, self.b]

        def __call__(self, x):
            return x * self.a + x * x * self.b

    net = cs.Sequential(abs, Two())
    flow = GradientFlow(net)
    net(np.full((1, 1, 3), 3.0)).sum().backward()
    flow.add()
    assert flow.end_epoch() == {"1 Two.0": 3.0, "1 Two.1": 9.0}


def test_a_round_trip(flow, tmp_path):
    text = (tmp_path / "flow.csv").read_text().splitlines()
    assert text[0] == "epoch,0 Dense,2 Dense"
    assert [line.split(",")[0] for line in text[1:]] == ["1", "2"]
    again = GradientFlow(network())
    again.load(tmp_path / "flow.csv")
    for mine, other in zip(again.epochs, flow.epochs, strict=True):
        assert mine == pytest.approx(other, rel=1e-9)
    # Reading and writing is exact.
    again.save(tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "flow.csv").read_bytes()


def test_some_epochs_of_a_file(flow, tmp_path):
    again = GradientFlow(network())
    again.load(tmp_path / "flow.csv", 1)
    assert len(again.epochs) == 1
    again.load(tmp_path / "flow.csv", 3)
    assert again.epochs[2] == {}
    again.save(tmp_path / "gap.csv")
    assert (tmp_path / "gap.csv").read_text().splitlines()[3] == "3,,"
    other = GradientFlow(network())
    other.load(tmp_path / "gap.csv")
    assert other.epochs == again.epochs


def test_errors(tmp_path):
    flow = GradientFlow(network())
    with pytest.raises(ValueError, match=r"^GradientFlow: an epoch must have a step, got none$"):
        flow.end_epoch()
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(ValueError, match=r"^GradientFlow: .* is no file$"):
            flow.load(path)
    path = tmp_path / "flow.csv"
    for raw in (b"\xff\xfe\x00", b'"' + b"x" * 200_000):
        path.write_bytes(raw)
        with pytest.raises(ValueError, match=r"^GradientFlow: .*flow\.csv is no CSV$"):
            flow.load(path)
    for text in ("", "epoch,0 Dense\n", "1,2,3\n"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"^GradientFlow: .*flow\.csv does not begin with epoch,0 Dense,2 Dense$"):
            flow.load(path)
    for row in ("2,1", "2,1,2,3", "3,1,2", "2,one,2", "two,1,2", ""):
        path.write_text(f"epoch,0 Dense,2 Dense\n1,2,3\n{row}\n")
        with pytest.raises(ValueError, match=r"^GradientFlow: .*flow\.csv line 3 is no row of epoch 2$"):
            flow.load(path)
    assert flow.epochs == []
