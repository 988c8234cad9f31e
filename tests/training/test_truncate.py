"""Training in chunks of time, and the warnings of gradients that grow through time or are cut in every step."""

import tracemalloc

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend
from cuslayer._parameter import Bounded
from cuslayer.distributed import Context, DataParallel
from cuslayer.layers.recurrent import on_errors
from cuslayer.training import NotFiniteError, Trainer
from tests.support.kinds import Offset, Quadratic, Resting
from tests.support.refused import refuses

RNG = np.random.default_rng(0)
X = RNG.random((50, 3, 6)) < 0.3
WEIGHTS = RNG.standard_normal((50, 3, 5)).astype(np.float32)
LABELS = np.array([0, 1, 0])
KINDS = {
    "SRM": lambda **o: cs.SRM(theta=1.0, tau_sr=3.0, **o),
    "LIF": lambda **o: cs.LIF(6.0, **o),
    "CUBA": lambda **o: cs.CUBA(2.0, 6.0, reset="subtract", **o),
    "ALIF": lambda **o: cs.AdaptiveLIF(2.0, 6.0, 20.0, 3.0, rise=0.2, **o),
    "RF": lambda **o: cs.neurons.ResonateAndFire(**o),
}
# More kinds, with constants that are trained, and those that cannot be recurrent.
MORE = {
    "SRM(arctan)": lambda **o: cs.SRM(theta=1.0, tau_sr=3.0, surrogate="arctan", **o),
    "ALIF(trained)": lambda **o: cs.AdaptiveLIF(2.0, 6.0, 20.0, 3.0, rise=0.2, trained=True, **o),
    "AdLIF": lambda **o: cs.neurons.AdLIF(trained=True, **o),
    "BRF": lambda **o: cs.neurons.BalancedResonateAndFire(trained=True, **o),
    "SRNN": lambda **o: cs.neurons.NormalizedALIF(6.0, 20.0, theta=0.2, trained=True, **o),
    "own": lambda **o: Offset(tau=6.0, level=Bounded(0.3, least=0.0), trained=True, **o),
    "own with a start": Resting,
    "SigmaDelta": lambda **o: cs.neurons.SigmaDelta(0.3, **o),
    "SampledSRM": lambda **o: cs.neurons.SampledSRM(np.exp(-np.arange(20) / 5), [0, -1.0, -0.5], theta=1.0, **o),
    "Loihi": lambda gradient: cs.Loihi(vth_mant=2, wgt_exp=0),
}
FAST = cs.LIF(0.01)  # which forgets within a step


def loss(out, target):
    return (out * WEIGHTS[..., : out.shape[-1]]).sum()


def trainer(*stages, loss=loss, calibrate=None, rate=0.0, clip_norm=None, **options):
    net = cs.Sequential(*stages)
    return Trainer(net, loss, cs.SGD(net.parameters(), rate, clip_norm=clip_norm), calibrate=calibrate, **options)


def trained(*stages, seed=1, **options):
    """Return the score and the gradients of a step."""
    cs.seed(seed)
    t = trainer(*(stage() for stage in stages), **options)
    score = t.train([(X, LABELS)])
    return score, [p.grad for p in t.net.parameters()]


# Each kind with constants that are trained, and the size of an input that makes it fire.
TRAINED = {
    "LIF": (lambda **o: cs.LIF(6.0, **o), 1.0),
    "CUBA": (lambda **o: cs.CUBA(2.0, 6.0, reset="subtract", **o), 1.0),
    "AdaptiveLIF": (lambda **o: cs.AdaptiveLIF(2.0, 6.0, 20.0, 3.0, rise=0.2, **o), 1.0),
    "AdLIF": (lambda **o: cs.AdLIF(6.0, 60.0, bounds=(1.0, 90.0), q=20.0, **o), 8.0),
    "Offset": (lambda **o: Offset(tau=6.0, level=Bounded(0.7, least=0.0), **o), 3.0),
    "Quadratic": (lambda **o: Quadratic(tau=6.0, **o), 0.7),
}


@pytest.mark.all
@pytest.mark.parametrize("steps", [1, 17, 50])
@pytest.mark.parametrize("kind", TRAINED)
def test_gradients_of_constants_stop_where_a_chunk_begins(kind, steps):
    """They are those of calls that keep the state between them."""
    make, size = TRAINED[kind]
    x = RNG.normal(0.2, 1, (50, 3, 5)) * size
    neuron, kept = (make(trained=True, gradient="exact", tau_rho=0.8, stateful=held) for held in (False, True))
    spikes = []
    for first in range(0, 50, steps):
        out = kept(x[first : first + steps])
        (out * WEIGHTS[first : first + steps]).sum().backward()
        spikes.append(out.data)
    assert 0.02 < np.mean(np.concatenate(spikes)) < 0.9
    score = trainer(neuron, truncate=steps).train([(x, LABELS)])
    assert score.loss == pytest.approx(float((np.concatenate(spikes) * WEIGHTS).sum()) / 3, abs=1e-4)
    for trained, of_calls in zip(neuron.parameters(), kept.parameters(), strict=True):
        np.testing.assert_allclose(trained.grad, of_calls.grad, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("gradient", ["slayer", "exact"])
@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_states_go_on_and_gradients_stop(kind, recurrent, gradient):
    """The gradient is that of each chunk's part of the loss, without what it gives to steps before the chunk."""
    cs.seed(1)
    neuron = KINDS[kind](gradient=gradient)
    stage = cs.Recurrent(cs.Dense(5, 5, weight_scale=2.0), neuron) if recurrent else neuron
    t = trainer(cs.Dense(6, 5, weight_scale=2.0), stage, truncate=17)
    score = t.train([(X, LABELS)])
    found = t.net[0].weight.grad
    assert score.loss == pytest.approx(float((t.net(X).data * WEIGHTS).sum()) / 3)
    expected, own = np.zeros_like(found), np.zeros((5, 5))
    for chunk in (slice(0, 17), slice(17, 34), slice(34, 50)):
        leaf = cs.Tensor(t.net[0](X).data, requires_grad=True)
        g = np.zeros_like(WEIGHTS)
        g[chunk] = WEIGHTS[chunk]
        out = stage(leaf)
        out.backward(g)
        y = leaf.grad[chunk].reshape(-1, 5)
        expected += X[chunk].reshape(-1, 6).astype(np.float32).T @ y
        own += np.concatenate([np.zeros((1, 3, 5)), out.data])[chunk].reshape(-1, 5).T @ y
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * abs(expected).max())
    if recurrent:
        stage.layer.weight.grad = None
        t.train([(X, LABELS)])
        np.testing.assert_allclose(stage.layer.weight.grad, own, rtol=0, atol=1e-5 * abs(own).max())


def test_the_whole_is_one_chunk_and_memory_alone_makes_a_difference():
    """A network that remembers nothing, its delay and its dropout have the same gradients in chunks, for any loss."""
    stages = lambda: cs.Dense(6, 8), lambda: FAST, lambda: cs.Dropout(0.4), lambda: cs.Dense(8, 5), lambda: FAST
    for of in (loss, cs.SpikeCountLoss(FAST, true=9, false=2), cs.CrossEntropyLoss("max")):
        whole = trained(*stages, loss=of)
        for steps, tolerance in ((50, 0), (49, 1e-5), (7, 1e-5), (1, 1e-5)):
            score, grads = trained(*stages, loss=of, truncate=steps)
            assert score == pytest.approx(whole[0])
            for found, expected in zip(grads, whole[1], strict=True):
                np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * abs(expected).max())


def test_layers_that_remember_go_on():
    stages = (
        lambda: cs.Sequential(cs.Dense(6, 4), cs.Delay(4, dt=1.0, initial=5.0), cs.layers.FilterBank(2, 3)),
        lambda: cs.Parallel(cs.Sequential(cs.Dense(8, 5), KINDS["SRM"](), cs.layers.Shift(2.0)), cs.ReadOut(8, 5)),
    )
    found, expected = trained(*stages, truncate=9), trained(*stages)
    assert found[0].loss == pytest.approx(expected[0].loss, rel=1e-5)
    assert all(g.any() for g in found[1])


ONCE = "SigmaDelta", "SampledSRM", "Loihi"  # which cannot be recurrent
CASES = [(kind, delay, "exact") for kind in (*KINDS, *MORE) for delay in ((None,) if kind in ONCE else (None, 4.0))]
CASES += [(kind, delay, "slayer") for kind, delay in (("SRM", None), ("SampledSRM", None), ("RF", None), ("ALIF", 1.0))]
CASES += [(kind, delay, "eventprop") for kind, delay in (("SRM", None), ("CUBA", None), ("SRNN", None), ("ALIF", 1.0))]


@pytest.mark.all
@pytest.mark.parametrize(("kind", "delay", "gradient"), CASES)
def test_gradients_of_chunks_that_run_again_are_those_of_the_whole(kind, delay, gradient):
    """In float64, also where a chunk is shorter than what its stages remember."""
    found = []
    for options in ({}, {"recompute": 17}, {"recompute": 3}):
        cs.seed(1)
        stage = (KINDS | MORE)[kind](gradient=gradient)
        if delay is not None:
            stage = cs.Recurrent(cs.Dense(5, 5, weight_scale=2.0), stage, delay=delay)
        first = cs.Dense(6, 5, weight_scale=40.0 if kind == "Loihi" else 2.0)
        read_out = cs.ReadOut(4, 5, trained=True)
        net = cs.Sequential(first, cs.Delay(5, dt=1.0, initial=2.0), stage, cs.Dense(5, 4), cs.Dropout(0.2), read_out)
        for p in net.parameters():
            p.data = p.data.astype(np.float64)
        t = Trainer(net, loss, cs.SGD(net.parameters(), 0.0), calibrate=None, **options)
        score = t.train([(X, LABELS)])
        found.append((score.loss, [p.grad for p in t.net.parameters()]))
    for score, grads in found[1:]:
        assert score == pytest.approx(found[0][0])
        for mine, whole in zip(grads, found[0][1], strict=True):
            np.testing.assert_allclose(mine, whole, rtol=0, atol=1e-10 * abs(whole).max())


class Noise(cs.Layer):
    keeps_shape, memory = True, 0

    def __call__(self, x):
        return x * backend.generator().random(x.shape)


def test_chunks_draw_again_what_they_have_drawn():
    losses = []
    for options in ({"truncate": 50}, {"truncate": 17}, {"recompute": 17}):
        _, grads = trained(lambda: cs.Dense(6, 5), lambda: cs.Dropout(0.4), Noise, lambda: FAST, **options)
        losses.append((*grads, backend.generator().random()))
    for grad, drawn in losses[1:]:
        np.testing.assert_allclose(grad, losses[0][0], rtol=0, atol=1e-5 * abs(grad).max())
        assert drawn == losses[0][1]


@pytest.mark.parametrize("chunks", ["truncate", "recompute"])
def test_padding_has_no_loss_and_no_gradient(chunks):
    x, found = cs.Tensor(X, lengths=[50, 20, 35]), []
    for options in ({}, {chunks: 17}):
        cs.seed(1)
        t = trainer(cs.Dense(6, 5, weight_scale=2.0), FAST, cs.ReadOut(5, 5, tau=0.01), loss=loss, **options)
        found.append((t.train([(x, LABELS)]).loss, [p.grad for p in t.net.parameters()]))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-4)
    for mine, whole in zip(found[1][1], found[0][1], strict=True):
        np.testing.assert_allclose(mine, whole, rtol=0, atol=1e-4 * abs(whole).max())


def test_calibration_takes_the_first_steps():
    weights, x = [], RNG.random((1500, 2, 6)) < np.linspace(0.1, 0.5, 1500)[:, None, None]
    for steps, options in ((1500, {"truncate": 200}), (1000, {"recompute": 200}), (1500, {})):
        cs.seed(1)
        t = trainer(cs.Dense(6, 5), cs.LIF(6.0), calibrate=30.0, **options)
        t.prepare([(cs.Tensor(x[:steps], lengths=[steps, 900]), LABELS[:2])])
        weights.append(t.net[0].weight.data)
    np.testing.assert_array_equal(weights[0], weights[1])
    assert (weights[0] != weights[2]).all()


@pytest.mark.parametrize("chunks", ["truncate", "recompute"])
def test_memory_does_not_grow_with_time(chunks):
    peaks = []
    for steps in (400, 3200):
        cs.seed(0)
        net = cs.Sequential(cs.Dense(10, 150), cs.Recurrent(cs.Dense(150, 150), cs.LIF()), cs.ReadOut(150, 2))
        t = Trainer(net, cs.CrossEntropyLoss("last"), cs.SGD(net.parameters(), 0.0), calibrate=None, **{chunks: 200})
        batch = (np.random.default_rng(0).random((steps, 2, 10)) < 0.1, np.array([0, 1]))
        t.train([batch])
        tracemalloc.start()
        try:
            t.train([batch])
            peaks.append(tracemalloc.get_traced_memory()[1] - 2 * 4 * steps * 2 * 2)  # the output and its gradient
        finally:
            tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]


class Net(cs.Sequential):
    def __call__(self, x):
        return super().__call__(x) * 0.5 + 1.0


class Remembers(Net):
    memory = 0


def test_a_network_with_its_own_call():
    found = []
    for make, options in ((Net, {}), (Remembers, {"truncate": 17}), (Remembers, {"recompute": 17})):
        cs.seed(1)
        net = make(cs.Dense(6, 5), FAST, cs.Dense(5, 5))
        t = Trainer(net, loss, cs.SGD(net.parameters(), 0.0), calibrate=None, **options)
        found.append((t.train([(X, LABELS)]).loss, net[0].weight.grad))
    for score, grad in found[1:]:
        assert score == pytest.approx(found[0][0], rel=1e-4)
        np.testing.assert_allclose(grad, found[0][1], rtol=0, atol=1e-4 * abs(grad).max())


class Own(cs.Layer):
    keeps_shape = True

    def __call__(self, x):
        return x


def test_what_cannot_run_in_chunks():
    dense, lif = cs.Dense(6, 5), cs.LIF()
    again = type("Again", (cs.Recurrent,), {"__call__": Own.__call__})(cs.Dense(5, 5), lif)
    cases = {
        "layer 1 BatchNorm(5) cannot be trained in chunks of time: its mean and": [dense, cs.BatchNorm(5), lif],
        "layer 1 LIF(tau=20, theta=1, stateful=True) cannot be": [dense, cs.LIF(stateful=True)],
        "layer 0 Own() cannot be trained in chunks of time: it may depend on any": [Own(), dense, lif],
        "layer 1 Recurrent(Dense(5, 5), LIF(tau=20": [dense, again],
    }
    for text, stages in cases.items():
        with pytest.raises(ValueError) as problem:
            trainer(*stages, truncate=9)
        assert str(problem.value).startswith(f"Trainer: {text}")
    net = Net(dense, lif)
    for run in (net.stream, lambda: Trainer(net, loss, cs.SGD(net.parameters()), recompute=9)):
        with pytest.raises(ValueError, match=r"^(Trainer|stream): layer 0 Net\(.* it may depend on any other step$"):
            run()
    own = type("Own", (Own,), {"continued": lambda self: self})()
    trainer(own, dense, lif, truncate=9)
    with refuses("Trainer: layer 0 Own() cannot be trained in chunks of time: your continued() gives no"):
        trainer(own, dense, lif, recompute=9)
    with refuses("Trainer: recompute must not be given with truncate, which has other gradients"):
        trainer(dense, lif, truncate=9, recompute=9)
    options = {"parallel": DataParallel(Context()), "loss": cs.network.SparsityLoss(loss, weight=1.0)}
    for name, value in options.items():
        with pytest.raises(ValueError, match=r"^Trainer: truncate must not be given with"):
            trainer(dense, lif, truncate=9, **{name: value})


def recurrent(scale, **options):
    cs.seed(1)
    back = cs.Recurrent(cs.Dense(8, 8, weight_scale=scale), cs.LIF(**options))
    stages = cs.Dense(6, 8, weight_scale=10.0), back, cs.ReadOut(8, 5)
    return trainer(*stages, loss=cs.CrossEntropyLoss("every"))


def test_growing_gradients_give_one_warning():
    t, batch = recurrent(8.0, scale_rho=1.0), (np.tile(X, (4, 1, 1)), LABELS)
    with pytest.warns(UserWarning, match=r"^train: gradients grow by more than 1,000 through time in layer 1 \(Recurr"):
        t.train([batch, batch])
    t.train([batch, batch])
    recurrent(None, scale_rho=1.0).train([batch, batch])  # drawn again: a loss at every step adds up
    # From the last step to the first: a rise in all of time, one at either end, and errors that add up.
    late, early = (np.where(np.arange(200) < edge, 1e6, 1.0) for edge in (150, 50))
    rises = np.geomspace(1e6, 1, 200), late, early, np.arange(200.0)[::-1]
    t._watch.start_epoch()
    t._watch._warned.clear()
    for number, rise in enumerate((*rises, *rises), start=1):
        errors, joined = rise[:, None, None] * np.ones((1, 2, 8), np.float32), number > len(rises)
        with t._watch.during(True, joined=joined):
            for part in np.split(errors, 8)[::-1] if joined else [errors]:  # chunks of 25 steps, the last one first
                on_errors.get()(t.net[1], part)
        assert [counts.tolist() for counts in t._watch._counts.values()] == [[1.0 + joined, number]]
    with pytest.warns(UserWarning, match="gradients grow"), pytest.raises(NotFiniteError):
        recurrent(8.0, scale_rho=1.0).train([(np.tile(X, (20, 1, 1)), LABELS)])


@pytest.mark.parametrize(
    ("samples", "grown"),
    [
        ([(49, 2.0)], False),
        ([(50, 2.0)], True),
        ([(90, 1.0)], False),
        ([(49, 2.0), (90, 1.0)], False),
        ([(90, 1.0), (60, 2.0), (5, 3.0)], True),
        ([(90, 0.5)], False),
    ],
)
def test_growth_needs_enough_steps_with_an_error(samples, grown):
    """A sample counts from 50 of its steps on, wherever its errors lie: over fewer, a response's delay looks alike."""
    t, errors = recurrent(8.0), np.zeros((120, len(samples), 8), np.float32)
    for i, (steps, ratio) in enumerate(samples):
        errors[7 + i : 7 + i + steps, i] = ratio ** np.arange(steps, 0.0, -1)[:, None]
    with t._watch.during(True):
        on_errors.get()(t.net[1], errors)
    assert [counts.tolist() for counts in t._watch._counts.values()] == [[grown, 1.0]]


def test_a_limit_that_cuts_every_step_gives_one_warning():
    batches = [(X, LABELS)] * 9
    t = trainer(cs.Dense(6, 5), FAST, clip_norm=1e-3)
    text = "^train: clip_norm=0.001 has cut the gradients of every step of epoch 1; the median of their norms"
    with pytest.warns(UserWarning, match=text) as seen:
        t.train(batches)
    t.train(batches)
    norm = np.linalg.norm(trained(lambda: t.net[0], lambda: FAST)[1][0])
    assert f"norms is {norm:.3g}, and clip_norm={norm:.3g} would cut 1 in 10" in str(seen[0].message)
    trainer(cs.Dense(6, 5), FAST, clip_norm=2 * float(norm) + 1e3).train(batches)
