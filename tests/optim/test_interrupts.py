"""A step on the CPU: what an interrupt or an error leaves; one pass has the bits of one by one, on any cores."""

import signal

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.backend import to_device, to_numpy, uninterrupted
from cuslayer.kernels import cpu
from cuslayer.training import Trainer
from tests.cli.test_signals import _not_ignored as _not_ignored
from tests.support.after_step import AfterStep
from tools import fake_cupy
from tools.emulator.driver import in_one_order

pytestmark = pytest.mark.all

KINDS = {
    "SGD": ("sgd_each", lambda parameters: cs.SGD(parameters, momentum=0.9)),
    "Adam": ("adam_each", lambda parameters: cs.Adam(parameters, warmup=5)),
    "NAdam": ("adam_each", lambda parameters: cs.optim.NAdam(parameters, relative=True)),
}
X, LABELS = np.random.default_rng(0).random((10, 4, 3)) < 0.4, np.array([0, 1, 1, 0])


def made(kind, dtypes=(np.float32, np.float64)):
    generator = np.random.default_rng(1)
    found = [cs.Tensor(generator.standard_normal((4, 3)).astype(dtype), requires_grad=True) for dtype in dtypes]
    for p in found:
        p.grad = generator.standard_normal(p.shape).astype(p.dtype)
    return KINDS[kind][1](found)


def numbers(optimizer):
    state = {name: a.tobytes() for name, a in optimizer.state().items()}
    return [to_numpy(p.data).tobytes() for p in optimizer.parameters], state


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_a_step_that_fails_before_a_weight_moves_is_not_counted(kind, error, monkeypatch):
    whole, ours = made(kind), made(kind)
    for optimizer in (whole, ours):
        optimizer.step()
    before = numbers(ours)

    def fails(*arguments):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(cpu.optim, KINDS[kind][0], fails)
        with pytest.raises(error):
            ours.step()
    assert numbers(ours)[0] == before[0]
    assert ours.steps == 1
    for optimizer in (whole, ours):
        optimizer.step()
    assert numbers(ours) == numbers(whole)


def test_each_parameter_counts_what_it_has_moved(monkeypatch):
    """The weights of the second type do not move: the state says so, and another optimizer goes on with it."""
    ours, calls, real = made("Adam"), [], cpu.optim.adam_each

    def fails(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise MemoryError
        real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(cpu.optim, "adam_each", fails)
        with pytest.raises(MemoryError):
            ours.step()
    state = ours.state()
    assert (int(state["steps"]), int(state["0.steps"]), "1.steps" in state) == (0, 1, False)
    theirs = made("Adam")
    for mine, other in zip(theirs.parameters, ours.parameters, strict=True):
        mine.data[...] = other.data
    theirs.load_state(state)
    for optimizer in (ours, theirs):
        optimizer.step()
    assert numbers(ours) == numbers(theirs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_signal_within_a_step_waits_for_its_end(kind, when, monkeypatch):
    whole, ours, real = made(kind), made(kind), getattr(cpu.optim, KINDS[kind][0])

    def interrupted(*arguments):
        if when == "before":
            signal.raise_signal(signal.SIGINT)
        real(*arguments)
        if when == "after":
            signal.raise_signal(signal.SIGTERM)

    def stop(number, frame):
        raise SystemExit

    before = signal.signal(signal.SIGTERM, stop)
    try:
        with monkeypatch.context() as patch:
            # Of two types of weights, only the first call has a signal: a second one does not wait.
            patch.setattr(cpu.optim, KINDS[kind][0], lambda *arguments: patch.undo() or interrupted(*arguments))
            with pytest.raises(KeyboardInterrupt if when == "before" else SystemExit):
                ours.step()
    finally:
        signal.signal(signal.SIGTERM, before)
    whole.step()
    assert numbers(ours) == numbers(whole)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@uninterrupted()
def signalled():
    signal.raise_signal(signal.SIGINT)
    raise ValueError


def test_what_a_signal_does_is_done_after_an_error_too():
    with pytest.raises(KeyboardInterrupt):
        signalled()


def trainer_of(net, **options):
    loss, optimizer = cs.SpikeCountLoss(cs.SRM(), true=5, false=0), cs.Adam(net.parameters(), 0.01)
    return Trainer(net, loss, optimizer, calibrate=None, **options)


def network():
    cs.seed(0)
    return cs.Network("3-4-2", cs.SRM(theta=1.0))


def test_a_trainer_counts_a_step_everywhere_or_nowhere(monkeypatch):
    """An interrupt after the weights have moved comes when the score and the gradient flow have the batch."""
    trainer, seen, real = trainer_of(network()), [], cpu.optim.adam_each

    def interrupted(*arguments):
        real(*arguments)
        if trainer.optimizer.steps == 4:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(cpu.optim, "adam_each", interrupted)
    trainer.callbacks = [AfterStep(seen.append)]
    with pytest.raises(KeyboardInterrupt):
        trainer.train([(X, LABELS)] * 8)
    assert (trainer.optimizer.steps, seen[0].batches, trainer.gradients.state()["steps"]) == (5, 5, 2)


def test_an_epoch_after_an_interrupted_one_begins_anew():
    """The sizes of gradients are those of its own steps."""
    trainer, found = trainer_of(network()), []

    def stop(score):
        if score.batches == 5:
            raise KeyboardInterrupt

    trainer.callbacks = [AfterStep(stop)]
    with pytest.raises(KeyboardInterrupt):
        trainer.train([(X, LABELS)] * 8)
    trainer.callbacks = [AfterStep(lambda score: found.append(trainer.gradients.state()["steps"]))]
    trainer.train([(X, LABELS)])
    assert found == [1]


@pytest.mark.parametrize("way", ["launch of a graph", "kernel before", "kernel after"])
def test_a_step_on_a_gpu_that_fails_is_not_counted(way, monkeypatch):
    with in_one_order(), fake_cupy.in_use():
        whole, ours = (trainer_of(network()).optimizer for _ in range(2))
        for optimizer in (whole, ours):
            for p in optimizer.parameters:
                p.grad = to_device(np.full(p.shape, 0.5, np.float32))
            optimizer.step()
        before, real = numbers(ours), ours._update_all

        def fails(*arguments):
            if way == "kernel after":
                real(*arguments)
            raise RuntimeError

        with monkeypatch.context() as patch:
            patch.setattr(ours, "_update_all", fails)
            step = (lambda: ours.step_by(fails)) if way == "launch of a graph" else ours.step
            with pytest.raises(RuntimeError):
                step()
        assert ours.steps == 1
        for optimizer in (whole, ours):
            optimizer.step()
        if way == "kernel after":
            # The kernel has advanced its counter: the table of rates is sent anew, for the steps after the first.
            assert to_numpy(ours._ahead[np.dtype(np.float32)].arrays[2]).tolist() == [1, 1]
        else:
            assert numbers(ours) == numbers(whole) != before


# On the CPU one pass updates all weights of a type


# A piece has 32,768 elements.
SHAPES = [(3,), (0,), (70, 1000), (32768,), (1, 32769), (5, 7)]
OF_GROUPS = {
    "SGD": lambda groups: cs.SGD(groups, momentum=0.9),
    "Adam": lambda groups: cs.Adam(groups, betas=(0.8, 0.99)),
    "NAdam": lambda groups: cs.optim.NAdam(groups, momentum_decay=None),
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
@pytest.mark.parametrize("kind", OF_GROUPS)
def test_bits_are_those_of_weights_one_by_one(kind, dtype, monkeypatch):
    together, alone = parameters(dtype), parameters(dtype)
    whole = OF_GROUPS[kind](groups(together, kind))

    class Own(type(whole)):
        """Updates one by one, since it has an _update of its own."""

        def _update(self, *arguments):
            super()._update(*arguments)

    monkeypatch.setattr("tests.optim.test_interrupts.cs.optim." + kind, Own)
    single = OF_GROUPS[kind](groups(alone, kind))
    for cores in (1, 2, 3):
        cs.threads(cores)
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
    message = r"^g must have the type and size of w, float32 and 4, got float32 and 3$"
    with pytest.raises(ValueError, match=message):
        cpu.optim.sgd_each(w, [w[0], w[0]], [w[0].copy(), w[1].copy()], numbers)
    with pytest.raises(ValueError, match=r"^v must have the type .* got float64 and 3$"):
        cpu.optim.sgd_each(w, w, [w[0].astype(float), w[1].copy()], numbers)
    with pytest.raises(ValueError, match=r"^g must be C-contiguous, got strides \(8,\) for shape \(3,\)$"):
        cpu.optim.sgd_each(w[:1], [np.ones(6, np.float32)[::2]], w[:1], numbers[:1])
    assert w[0].tolist() == [1.0] * 3
