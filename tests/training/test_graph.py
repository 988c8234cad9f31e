"""Training steps as CUDA graphs on the stand-in for CuPy: the bits of steps that are not captured."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest

import cuslayer as cs
import cuslayer.neurons
from cuslayer import backend
from cuslayer.backend import to_numpy
from cuslayer.data import Arrays, Events, Loader
from cuslayer.tape import as_tensor
from cuslayer.training import Trainer
from tools import fake_cupy
from tools.emulator.driver import in_one_order
from tools.fake_cupy import Costs


@pytest.fixture(autouse=True)
def cuda() -> Any:
    with in_one_order(), fake_cupy.in_use() as emulator:
        yield emulator


def data() -> Arrays:
    generator = np.random.default_rng(3)
    return Arrays(generator.random((14, 12, 4, 4, 2)) < 0.3, generator.integers(0, 3, 14))


def recordings() -> Arrays:
    """Return recordings of events, one of them without any."""
    generator, found = np.random.default_rng(4), []
    for count in (90, 60, 0, 120, *[80] * 10):
        y, x, p = (generator.integers(0, side, count) for side in (4, 4, 2))
        found.append(Events(generator.uniform(0, 12, count), x, y, p))
    return Arrays(found, generator.integers(0, 3, 14), shape=(4, 4, 2))


def trained(notation: str, graph: bool, make: Any = cs.Adam, potentials: str = "full", **options: Any) -> Any:
    cs.seed(1)
    srm = cs.SRM(tau_sr=3.0)
    net = cs.Network(notation, srm, potentials=potentials)
    optimizer = make(net.parameters(), lr=0.02, **options)
    loss = cs.SpikeCountLoss(srm, true=6, false=1)
    trainer = Trainer(net, loss, optimizer, graph=graph)
    loader = Loader(data(), 2, steps=12, shuffle=True, seed=0)
    scores = []
    for epoch in range(2):
        optimizer.epoch = epoch
        scores.append(trainer.train(loader))
    return scores, [to_numpy(p.data) for p in net.parameters()], trainer


def same(ours: Any, theirs: Any) -> None:
    assert ours[0] == theirs[0]
    for a, b in zip(ours[1], theirs[1], strict=True):
        assert a.tobytes() == b.tobytes()
    assert ours[2].gradients.epochs == theirs[2].gradients.epochs
    assert ours[2].optimizer.state().keys() == theirs[2].optimizer.state().keys()
    for name, x in ours[2].optimizer.state().items():
        assert x.tobytes() == theirs[2].optimizer.state()[name].tobytes(), name


@pytest.mark.parametrize("notation", ["4x4x2-5-3", "4x4x2-3c3-2a-3"])
def test_graphs_have_the_bits_of_plain_steps(notation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = trained(notation, False)
    captured = []
    begin = fake_cupy.cuda.begin_capture
    monkeypatch.setattr(fake_cupy.cuda, "begin_capture", lambda: captured.append(1) or begin())
    graphs = trained(notation, True)
    same(graphs, plain)
    assert graphs[2].graph_problem is None
    # Of each epoch: two kinds of steps, each recorded as gradients alone and as a whole.
    assert len(captured) == 2 * 2 * 2


@pytest.mark.parametrize("options", [{"relative": True, "warmup": 3, "amsgrad": True}, {"weight_decay": 0.1}])
def test_schedules_and_options(options: Any) -> None:
    def make(parameters: Any, lr: float, **more: Any) -> Any:
        return cs.Adam(parameters, lr=lambda epoch: lr / (1 + epoch), **more)

    same(*(trained("4x4x2-5-3", graph, make, **options) for graph in (True, False)))


def ten_batches(loader: Loader, marks: list[int], costs: Costs) -> Iterator[Any]:
    """Yield the batches of two epochs, the last two looked at before, and note the operations before each."""
    for number, batch in enumerate(islice((batch for _ in range(2) for batch in loader), 10)):
        if number >= 8:
            assert np.asarray(batch[0]).shape == (12, 2, 4, 4, 2)
        marks.append(len(costs.operations))
        yield batch


@pytest.mark.parametrize(
    ("make", "resident", "written"),
    [(recordings, None, "set_bits"), (recordings, "cuda", "set_bits"), (data, "cuda", "take")],
)
def test_batches_are_written_into_the_input_of_a_graph(make: Any, resident: Any, written: str) -> None:
    """By one operation; the bits are those of plain steps, where a batch is written once too."""
    found = []
    for graph in (True, False):
        cs.seed(1)
        net = cs.Network("4x4x2-5-3", cs.SRM(tau_sr=3.0))
        trainer = Trainer(net, cs.SpikeCountLoss(cs.SRM(), true=6, false=1), cs.Adam(net.parameters()), graph=graph)
        loader, marks = Loader(make(), 2, steps=12, shuffle=True, seed=0, resident=resident), list[int]()
        trainer.prepare(loader)
        with fake_cupy.counted() as costs:
            score = trainer.train(ten_batches(loader, marks, costs))
        found.append((score, [to_numpy(p.data).tobytes() for p in net.parameters()]))
        # Of steps that are launches of a graph, what is not in it: the batch, the labels, and what the loader sends of
        # the next batch.
        for step in range(5, 9) if graph else ():
            outside = [o.name for o in costs.operations[marks[step] : marks[step + 1]] if not o.graph]
            assert outside[:2] == [written, "upload"]
            assert step >= 7 or outside[2:] == ["upload"]
        if not graph:
            assert [o.name for o in costs.operations].count(written) == 10
    assert found[0] == found[1]


def epoch_of(trainer: Trainer) -> Any:
    return trainer.train(Loader(data(), 4, steps=12, seed=0))


def _freezing(parameter: cs.Tensor, batches: Any) -> Any:
    """Yield batches; the parameter is frozen during four of them."""
    for step, batch in enumerate(batches):
        parameter.requires_grad = not 5 <= step < 9
        yield batch


def test_a_parameter_frozen_within_an_epoch() -> None:
    found = []
    for graph in (True, False):
        cs.seed(1)
        net = cs.Network("4x4x2-5-3", cs.SRM(tau_sr=3.0))
        optimizer = cs.Adam(net.parameters(), lr=0.02)
        trainer = Trainer(net, cs.SpikeCountLoss(cs.SRM(), true=6, false=1), optimizer, graph=graph)
        batches = list(Loader(data(), 2, steps=12, seed=0)) * 2
        seen: list[int] = []
        freezing = _freezing(net.parameters()[0], batches)
        score = trainer.train(freezing, after_step=lambda score, seen=seen: seen.append(score.batches))  # type: ignore[misc]
        assert seen == [*range(1, 15)]
        found.append((score, [to_numpy(p.data) for p in net.parameters()]))
    assert found[0][0] == found[1][0]
    for a, b in zip(found[0][1], found[1][1], strict=True):
        assert a.tobytes() == b.tobytes()


class Noise(cs.Layer):
    """Multiplies by numbers that the host draws."""

    def __call__(self, x: Any) -> cs.Tensor:
        return as_tensor(x) * cs.Tensor(backend.generator().random(x.shape, np.float32))


def test_a_layer_that_needs_the_host_runs_as_it_is_and_says_so_once() -> None:
    found = []
    for graph in (True, False, None):
        cs.seed(1)
        srm = cs.SRM(tau_sr=3.0)
        net = cs.Sequential(cs.Dense((4, 4, 2), 5), srm, Noise(), cs.Dense(5, 3), srm)
        trainer = Trainer(net, cs.SpikeCountLoss(srm, true=6, false=1), cs.Adam(net.parameters(), lr=0.02), graph=graph)
        if graph:
            with pytest.warns(UserWarning, match="^train: steps are not captured as a CUDA graph: RuntimeError: "):
                scores = [epoch_of(trainer)]
        else:
            scores = [epoch_of(trainer)]
        scores.append(epoch_of(trainer))
        assert (trainer.graph_problem is None) == (graph is False)
        found.append((scores, [to_numpy(p.data).tobytes() for p in net.parameters()]))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(("name", "captured"), [("SigmaDelta", True), ("LIF", False)])
def test_the_neurons_whose_steps_are_captured(name: str, captured: bool) -> None:
    cs.seed(1)
    srm = cs.SRM(tau_sr=3.0)
    net = cs.Sequential(cs.Dense((4, 4, 2), 5), getattr(cs, name)(), cs.Dense(5, 3), srm)
    trainer = Trainer(net, cs.SpikeCountLoss(srm, true=6, false=1), cs.Adam(net.parameters(), lr=0.02), calibrate=None)
    epoch_of(trainer)
    problem = "RuntimeError: capture: an array of the host cannot be sent to the GPU in a step that is captured"
    assert trainer.graph_problem == (None if captured else problem)


def test_what_is_not_spikes_and_classes_runs_as_it_is() -> None:
    cs.seed(1)
    srm = cs.SRM(tau_sr=3.0)
    net = cs.Network("4x4x2-5-3", srm)
    x, target = np.ones((12, 2, 4, 4, 2), np.float32), np.zeros((12, 2, 3), bool)
    trainer = Trainer(net, cs.SpikeTimeLoss(srm), cs.SGD(net.parameters(), lr=1e-4), graph=True, calibrate=None)
    assert trainer.train([(x, target)] * 3).accuracy is None
    assert trainer.graph_problem is None


@pytest.mark.parametrize("form", ["list", "device"])
def test_labels_in_other_forms(form: str) -> None:
    """Labels on the device are captured too; lists are read by each step."""
    found = []
    for graph in (True, False):
        cs.seed(1)
        net = cs.Network("4x4x2-5-3", cs.SRM(tau_sr=3.0))
        trainer = Trainer(net, cs.SpikeCountLoss(cs.SRM(), true=6, false=1), cs.Adam(net.parameters()), graph=graph)
        batches = [
            (x, backend.to_device(y) if form == "device" else y.tolist())
            for x, y in Loader(data(), 2, steps=12, seed=0)
        ]
        found.append((trainer.train(batches), [to_numpy(p.data).tobytes() for p in net.parameters()]))
    assert found[0] == found[1]


def test_a_label_that_is_no_class_is_refused_after_the_capture() -> None:
    net = cs.Network("4x4x2-5-3", cs.SRM(tau_sr=3.0))
    trainer = Trainer(net, cs.SpikeCountLoss(cs.SRM(), true=6, false=1), cs.Adam(net.parameters()), graph=True)
    batches = list(Loader(data(), 2, steps=12, seed=0))
    bad = batches[6][0], np.array([0, 3])
    with pytest.raises(ValueError, match=r"^SpikeCountLoss: label 3 of sample 1 is none of 3 classes$"):
        trainer.train([*batches[:6], bad])


def test_errors() -> None:
    net = cs.Network("4x4x2-5-3", cs.SRM())
    arguments = net, cs.SpikeCountLoss(cs.SRM()), cs.Adam(net.parameters())
    with pytest.raises(TypeError, match=r"^Trainer: graph must be a bool or None, got int$"):
        Trainer(*arguments, graph=1)  # type: ignore[arg-type]
    cs.use("cpu")
    with pytest.raises(ValueError, match=r"^Trainer: graph must not be True on the CPU, a CUDA graph needs a GPU$"):
        Trainer(*arguments, graph=True)
    assert Trainer(*arguments, graph=False).graph is False
