"""Training steps as CUDA graphs on the stand-in for CuPy: the bits of steps that are not captured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from inspect import signature
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend, functions, neurons
from cuslayer._tape import as_tensor
from cuslayer.backend import to_numpy
from cuslayer.data import Arrays, Events, Loader
from cuslayer.training import Checkpoint, Trainer, load_checkpoint
from tests.support.after_step import AfterStep
from tests.support.refused import refuses
from tools import fake_cupy
from tools.emulator.driver import in_one_order
from tools.fake_cupy import Costs, counted

pytestmark = pytest.mark.all

SRM = cs.SRM(tau_sr=3.0)
LOW = cs.SRM(tau_sr=3.0, theta=3.0)
MLP = "4x4x2-5-3"


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


def loader(**options: Any) -> Loader:
    return Loader(data(), 2, steps=12, seed=0, **options)


def trainer_of(
    what: str | Callable[[], list[Any]], graph: bool | None, make: Any = cs.Adam, *, seed: int = 1, **options: Any
) -> Trainer:
    """Return a trainer of the network of a notation, which is calibrated, or of layers, which are not."""
    cs.seed(seed)
    net = cs.Network(what, SRM) if isinstance(what, str) else cs.Sequential(*what())
    for layer in net.layers:
        if isinstance(layer, cs.Delay):
            layer.delay.data *= 3.7
    loss = cs.SpikeCountLoss(SRM if isinstance(what, str) else LOW, true=6, false=1)
    calibrate = {} if isinstance(what, str) else {"calibrate": None}
    return Trainer(net, loss, make(net.parameters(), lr=0.02, **options), graph=graph, **calibrate)


def weights(trainer: Trainer) -> list[bytes]:
    return [to_numpy(p.data).tobytes() for p in trainer.net.parameters()]


def gradients(trainer: Trainer) -> list[bytes | None]:
    return [None if p.grad is None else to_numpy(p.grad).tobytes() for p in trainer.net.parameters()]


def two_epochs(notation: str, graph: bool, make: Any = cs.Adam, **options: Any) -> Any:
    """Return all that a training has computed, with the gradients after each step, and the trainer."""
    trainer, batches, scores = trainer_of(notation, graph, make, **options), loader(shuffle=True), []
    steps: list[Any] = []
    trainer.callbacks = [AfterStep(lambda _: steps.append(gradients(trainer)))]
    for epoch in range(2):
        trainer.optimizer.epoch = epoch
        scores.append(trainer.train(batches))
    memory = {name: a.tobytes() for name, a in trainer.optimizer.state().items()}
    return (scores, weights(trainer), steps, trainer.gradients.epochs, memory), trainer


@pytest.mark.parametrize("notation", [MLP, "4x4x2-3c3-2a-3"])
def test_graphs_have_the_bits_of_plain_steps(notation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, _ = two_epochs(notation, False)
    captured = []
    stream = backend.cupy().cuda.Stream
    begin = stream.begin_capture
    monkeypatch.setattr(stream, "begin_capture", lambda self: captured.append(1) or begin(self))
    graphs, trainer = two_epochs(notation, True)
    assert graphs == plain
    assert trainer.graph_problem is None
    # Of each epoch: two kinds of steps, each recorded as gradients alone and as a whole.
    assert len(captured) == 2 * 2 * 2


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
        trainer, marks = trainer_of(MLP, graph), list[int]()
        batches = Loader(make(), 2, steps=12, shuffle=True, seed=0, resident=resident)
        trainer.prepare(batches)
        with counted() as costs:
            score = trainer.train(ten_batches(batches, marks, costs))
        found.append((score, weights(trainer)))
        # Of steps that are launches of a graph, what is not in it: the batch, the labels, and what the loader sends of
        # the next batch.
        for step in range(5, 9) if graph else ():
            outside = [o.name for o in costs.operations[marks[step] : marks[step + 1]] if not o.graph]
            assert outside[:2] == [written, "upload"]
            assert step >= 7 or outside[2:] == ["upload"]
        if not graph:
            assert [o.name for o in costs.operations].count(written) == 10
    assert found[0] == found[1]


def test_batches_of_events_and_of_arrays_in_turn() -> None:
    """Packed in another way, in the same shape: each has its graph."""
    found = []
    for graph in (True, False):
        trainer = trainer_of(MLP, graph)
        of_events, of_arrays = (list(Loader(make(), 2, steps=12, seed=0)) for make in (recordings, data))
        score = trainer.train([batch for both in zip(of_events, of_arrays, strict=True) for batch in both])
        assert trainer.graph_problem is None
        found.append((score, weights(trainer)))
    assert found[0] == found[1]


def test_a_rate_that_changes_at_each_step() -> None:
    found = []
    for graph in (True, False):
        trainer = trainer_of(MLP, graph)

        def lower(score: Any, trainer: Trainer = trainer) -> None:
            trainer.optimizer.lr = 0.02 / (1 + score.batches)

        trainer.callbacks = [AfterStep(lower)]
        trainer.train(loader())
        assert trainer.graph_problem is None
        found.append(weights(trainer))
    assert found[0] == found[1]


def _freezing(parameter: cs.Tensor, batches: Any) -> Any:
    """Yield batches; the parameter is frozen during four of them."""
    for step, batch in enumerate(batches):
        parameter.requires_grad = not 5 <= step < 9
        yield batch


def test_a_parameter_frozen_within_an_epoch() -> None:
    found = []
    for graph in (True, False):
        trainer, seen, steps = trainer_of(MLP, graph), list[int](), list[Any]()

        def note(score: Any, trainer: Trainer = trainer, seen: list[int] = seen, steps: list[Any] = steps) -> None:
            seen.append(score.batches)
            steps.append(gradients(trainer))

        trainer.callbacks = [AfterStep(note)]
        score = trainer.train(_freezing(trainer.net.parameters()[0], list(loader()) * 2))
        assert seen == [*range(1, 15)]
        found.append((score, weights(trainer), steps))
    assert found[0] == found[1]


PROBLEM = "RuntimeError: capture: a captured step cannot send an array of the host to the GPU"
UPLOAD = f"^train: steps are not captured as a CUDA graph: {PROBLEM}$"


class Noise(cs.Layer):
    """Multiplies by numbers that the host draws."""

    def __call__(self, x: Any) -> cs.Tensor:
        return as_tensor(x) * cs.Tensor(backend.generator().random(x.shape, np.float32))


def test_a_layer_that_needs_the_host_runs_as_it_is_and_says_so_once() -> None:
    found = []
    for graph in (True, False, None):
        trainer = trainer_of(lambda: [cs.Dense((4, 4, 2), 5), LOW, Noise(), cs.Dense(5, 3), LOW], graph)
        if graph:
            with pytest.warns(UserWarning, match=UPLOAD):
                scores = [trainer.train(loader())]
        else:
            scores = [trainer.train(loader())]
        scores.append(trainer.train(loader()))
        assert (trainer.graph_problem is None) == (graph is False)
        found.append((scores, weights(trainer)))
    assert found[0] == found[1] == found[2]


KINDS = [name for name in neurons.__all__ if name not in ("Neuron", "StepNeuron")]
LOSSES = [name for name in dir(cs) if name.endswith(("Loss", "Error"))]
# Of four steps, the third is captured and the fourth is a launch of a graph.
TARGETS: dict[str, Callable[[np.ndarray[Any, Any]], Any]] = {
    "classes": lambda y: y,
    "one-hot": lambda y: np.eye(3, dtype=bool)[y],
    "at each step": lambda y: np.tile(y, (12, 1)),
    "trains": lambda y: np.tile(np.eye(3, dtype=bool)[y], (12, 1, 1)),
    "list": lambda y: y.tolist(),
}


def loss_of(name: str) -> Any:
    """Return a loss of any kind."""
    kind = getattr(cs.network if name == "SparsityLoss" else cs.loss, name)
    arguments = {"neuron": LOW, "loss": cs.CrossEntropyLoss(), "weight": 1e-4}
    options = {"over": "every"} if name == "CrossEntropyLoss" else {}
    return kind(**options, **{name: x for name, x in arguments.items() if name in signature(kind).parameters})


@pytest.mark.parametrize("targets", TARGETS)
@pytest.mark.parametrize("name", LOSSES)
def test_steps_of_every_loss_are_captured_or_say_why(name: str, targets: str) -> None:
    batches = [(x, TARGETS[targets](y)) for x, y in list(loader())[:4]]
    found: list[Any] = []
    for graph in (None, False):
        trainer = trainer_of(MLP, graph)
        trainer.loss = loss_of(name)
        with counted() as costs:
            try:
                found.append((trainer.train(batches), weights(trainer)))
            except (ValueError, TypeError) as refused:
                found.append(str(refused))
                continue
        if graph is None:
            said = (trainer.graph_problem or "").partition(", ")[0]
            assert said == ("" if targets == "classes" else "targets must be an array of integers")
            assert any(operation.graph for operation in costs.operations) == (not said)
    assert found[0] == found[1]


@pytest.mark.parametrize("name", KINDS)
def test_steps_of_every_kind_of_neuron_are_captured(name: str) -> None:
    with fake_cupy.in_use(compute=False), counted() as costs:
        trainer = trainer_of(lambda: [cs.Dense((4, 4, 2), 5), getattr(cs.neurons, name)(), cs.Dense(5, 3), LOW], None)
        trainer.loss = cs.CrossEntropyLoss()
        trainer.train(loader())
        assert trainer.graph_problem is None
        assert any(operation.graph for operation in costs.operations)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"truncate": 5}, "truncate, recompute and online run steps in chunks of time"),
        ({"recompute": 5}, "truncate, recompute and online run steps in chunks of time"),
        ({}, "the input must be spikes from a Loader, got ndarray"),
        ({"lengths": True}, "the recordings of a batch have different lengths"),
    ],
)
def test_what_is_not_captured_is_said(options: dict[str, Any], problem: str) -> None:
    trainer = trainer_of(MLP, None)
    trainer.loss = cs.CrossEntropyLoss()
    trainer.truncate, trainer.recompute = options.get("truncate"), options.get("recompute")
    if options == {}:
        trainer.train([(np.asarray(x), y) for x, y in loader()])
    else:
        trainer.train(Loader(recordings(), 2, steps=12, lengths=True) if "lengths" in options else loader())
    assert trainer.graph_problem == problem


def test_delays_of_synapses_narrow_in_a_graph() -> None:
    found = []
    for graph in (True, False):
        delays = cs.SynapticDelays(4.0, steps=5)
        trainer = trainer_of(lambda d=delays: [cs.Dense((4, 4, 2), 5, delays=d), LOW, cs.Dense(5, 3), LOW], graph)
        found.append((trainer.train(loader()), weights(trainer)))
        assert (trainer.graph_problem, float(to_numpy(delays.taken.data)[0])) == (None, 7.0)
    assert found[0] == found[1]


def test_labels_on_the_device_are_captured() -> None:
    found = []
    for graph in (True, False):
        trainer = trainer_of(MLP, graph)
        found.append((trainer.train([(x, backend.to_device(y)) for x, y in loader()]), weights(trainer)))
        assert trainer.graph_problem is None
    assert found[0] == found[1]


def test_a_label_that_is_no_class_is_refused_after_the_capture() -> None:
    batches = list(loader())
    bad = batches[6][0], np.array([0, 3])
    with refuses("SpikeCountLoss: label 3 of sample 1 is none of 3 classes"):
        trainer_of(MLP, True).train([*batches[:6], bad])


def test_errors() -> None:
    net = cs.Network(MLP, SRM)
    arguments = net, cs.SpikeCountLoss(SRM), cs.Adam(net.parameters())
    with refuses("Trainer: graph must be a bool or None"):
        Trainer(*arguments, graph=1)  # type: ignore[arg-type]
    cs.use("cpu")
    with refuses("Trainer: graph must not be True on the CPU, a CUDA graph needs a GPU"):
        Trainer(*arguments, graph=True)
    assert Trainer(*arguments, graph=False).graph is False


# Dropout and delays: the bits of steps that are not captured, and nothing is read back.


def dropout() -> list[Any]:
    return [cs.Dense((4, 4, 2), 6), LOW, cs.Dropout(0.4), cs.Dense(6, 3), LOW]


def dropout_of_input_and_images() -> list[Any]:
    first = cs.Dropout(0.2), cs.Conv(2, 3, 3, padding=1), LOW, cs.Dropout(0.5), cs.Conv(3, 2, 3), LOW
    return [*first, cs.Dense((2, 2, 2), 3), LOW]


def delays() -> list[Any]:
    first = cs.Delay(2, dt=1.0), cs.Conv(2, 3, 3, padding=1), LOW, cs.Delay((4, 4, 3), dt=1.0, max_delay=5.0)
    return [*first, cs.SumPool(2, gain=3.3), LOW, cs.Dense((2, 2, 3), 3), LOW, cs.Delay(3, dt=1.0)]


def pools() -> list[Any]:
    first = cs.Conv(2, 3, 3, padding=1), LOW, cs.MaxPool(3, stride=1, padding=1), cs.AvgPool(2), cs.Conv(3, 4, 1), LOW
    return [*first, cs.MaxPool(2), cs.GlobalAvgPool(), cs.Dense(4, 3), LOW]


def both() -> list[Any]:
    return [cs.Dense((4, 4, 2), 6), LOW, cs.Delay(6, dt=1.0, max_delay=3.0), cs.Dropout(0.3), cs.Dense(6, 3), LOW]


def everything() -> list[Any]:
    """Return layers that use whatever a device holds for all its kernels: counters, filters, constants, draws."""
    norm = cs.BatchNorm(3, height=3.0)
    first = cs.Conv(2, 3, 3, padding=1), norm, cs.LIF(theta=1.0), cs.SumPool(2, gain=3.3), LOW
    second = cs.Dense((2, 2, 3), 6, delays=cs.SynapticDelays(2.0)), cs.AdaptiveLIF(), cs.Dropout(0.2)
    third = cs.Dense(6, 6), cs.Recurrent(cs.Dense(6, 6), cs.LIF()), cs.Dense(6, 5), cs.neurons.SampledSRM()
    return [*first, *second, *third, cs.Dense(5, 3), LOW]


def test_a_second_card_trains_as_the_first() -> None:
    """Each card has its own of everything that kernels share, whichever was used first."""
    found = []
    for number in (0, 1, 0):
        with backend.cupy().cuda.Device(number):
            trainer = trainer_of(everything, True)
            found.append((trainer.train(loader(shuffle=True)), weights(trainer)))
            assert trainer.graph_problem is None
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("layers", [dropout_of_input_and_images, delays, pools])
def test_dropout_and_delays(layers: Callable[[], list[Any]]) -> None:
    found = []
    for graph in (True, False):
        trainer = trainer_of(layers, graph)
        before = weights(trainer)
        scores = trainer.train(loader(shuffle=True))
        assert trainer.graph_problem is None
        assert all(a != b for a, b in zip(before, weights(trainer), strict=True))
        found.append((scores, weights(trainer), backend.generator_state()))
    assert found[0] == found[1]


@pytest.mark.parametrize("graph", [True, False])
def test_steps_read_nothing_back(graph: bool) -> None:
    trainer, found = trainer_of(both, graph), list[int]()

    def batches() -> Any:
        for batch in list(loader()):
            with counted() as costs:
                yield batch
            found.append(costs.readbacks)

    trainer.train(batches())
    assert found == [0] * 7


def test_a_seed_within_an_epoch() -> None:
    """The launches after it draw with its key, as steps that are not captured do."""
    for at in (2, 5):
        found = []
        for graph in (True, False):
            trainer = trainer_of(dropout, graph)

            def batches(at: int = at) -> Any:
                for number, batch in enumerate(loader(shuffle=True)):
                    if number == at:
                        cs.seed(7)
                    yield batch

            trainer.train(batches())
            assert trainer.graph_problem is None
            found.append((weights(trainer), backend.generator_state()))
        assert found[0] == found[1]


@pytest.mark.parametrize("graph", [True, False])
def test_a_resumed_run_has_the_bits_of_one_that_never_stopped(graph: bool, tmp_path: Path) -> None:
    straight = trainer_of(both, graph)
    straight.train(loader())
    Checkpoint.of(1, straight.net, straight.optimizer).save(tmp_path / "c.npz")
    straight.train(loader())
    ended = weights(straight), backend.generator_state()
    again = trainer_of(both, graph, seed=5)
    again.train(loader(), steps=1)
    load_checkpoint(tmp_path / "c.npz").restore(again.net, again.optimizer)
    again.train(loader())
    assert (weights(again), backend.generator_state()) == ended


def test_outside_of_training_nothing_is_drawn() -> None:
    trainer = trainer_of(dropout, True)
    trainer.train(loader())
    before = backend.generator_state()
    assert before["device"][1] == 7
    scores = [trainer.test(loader()) for _ in range(2)]
    assert scores[0] == scores[1]
    assert backend.generator_state() == before
    with cs.no_grad():
        x = np.ones((3, 2, 50), np.float32)
        one, other = (functions.dropout(x, p=0.5).data for _ in range(2))
    assert (to_numpy(one) != to_numpy(other)).any()
    assert backend.generator_state()["device"] == [before["device"][0], 9]


def test_what_is_drawn_in_a_block_that_preserves_the_generator() -> None:
    x = np.ones((1, 2, 50), np.float32)

    def drawn() -> bytes:
        return to_numpy(functions.dropout(x, p=0.5).data).tobytes()

    cs.seed(4)
    for _ in range(2):
        # Before the first draw, and after it.
        before = backend.generator_state()
        with counted() as costs, backend.preserved_generator():
            within = drawn(), drawn()
        assert costs.readbacks == 2
        assert backend.generator_state() == before
        assert (drawn(), drawn()) == within
    assert within[0] != within[1]
