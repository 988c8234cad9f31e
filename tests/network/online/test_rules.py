"""The rules that learn forward in time in recurrent and deep networks, in `Trainer` and in streams."""

import gc
import tracemalloc

import numpy as np
import pytest

import cuslayer as cs
import cuslayer.neurons as kinds
from cuslayer.network import Online
from cuslayer.network.network import graph_in_chunks
from cuslayer.network.online.learner import OnlineLearner
from tests.network.online.test_exact import backward, in_float64, online
from tests.support.refused import raises

pytestmark = pytest.mark.all

RNG = np.random.default_rng(1)


def cosine(ours, theirs):
    return float((ours * theirs).sum() / np.sqrt((ours**2).sum() * (theirs**2).sum()))


def bellec(x, w_in, w_rec, w_out, d, keep, theta, g):
    """Return the gradients of e-prop for LIF with a reset to 0 and a leaky read-out, by plain loops (Bellec 2020).

    The eligibility vector of LIF is the trace of the presynaptic spikes; the learning signal is the error of the
    read-out through its weights; the read-out's leak filters the eligibility trace.
    """
    steps, inputs = x.shape
    neurons = len(w_rec)
    v = np.zeros(neurons)
    z = np.zeros(neurons)
    y = np.zeros(w_out.shape[1])
    trace_in = np.zeros(inputs)
    trace_rec = np.zeros(neurons)
    bar_in = np.zeros((inputs, neurons))
    bar_rec = np.zeros((neurons, neurons))
    bar_out = np.zeros(neurons)
    found = [np.zeros(w.shape) for w in (w_in, w_rec, w_out)]
    for t in range(steps):
        trace_in = d * trace_in + x[t]
        trace_rec = d * trace_rec + z
        u = d * v + x[t] @ w_in + z @ w_rec
        z = (u >= theta).astype(float)
        slope = np.exp(-abs(u - theta) / theta) / theta
        v = np.where(z > 0, 0.0, u)
        y = keep * y + z @ w_out
        bar_in = keep * bar_in + trace_in[:, None] * slope
        bar_rec = keep * bar_rec + trace_rec[:, None] * slope
        bar_out = keep * bar_out + z
        signal = w_out @ g[t]
        found[0] += bar_in * signal
        found[1] += bar_rec * signal
        found[2] += bar_out[:, None] * g[t]
    return found


def test_eprop_equals_the_published_equations():
    neuron = cs.LIF(tau=9.0, gradient="slayer", tau_rho=1.0, scale_rho=1.0)
    hidden = cs.Recurrent(cs.Dense(6, 6, weight_scale=3.0), neuron)
    net = in_float64(cs.Sequential(cs.Dense(5, 6, weight_scale=8.0), hidden, cs.ReadOut(6, 3, tau=7.0)))
    x = RNG.random((50, 1, 5)) < 0.4
    g = RNG.standard_normal((50, 1, 3))
    weights = (net[0].weight.data, hidden.layer.weight.data, net[2].weight.data)
    wanted = bellec(x[:, 0] * 1.0, *weights, np.exp(-1 / 9), np.exp(-1 / 7), 1.0, g[:, 0])
    output, found = online(net, x, g, "eprop", edges=[0, 1, 8, 31, 50])
    np.testing.assert_allclose(output, net(x).data, rtol=1e-12)
    by_shape = {tuple(map(id, (p,))): gradient for p, gradient in zip(net.parameters(), found, strict=True)}
    for layer, theirs in zip((net[0], hidden.layer, net[2]), wanted, strict=True):
        np.testing.assert_allclose(by_shape[(id(layer.weight),)], theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("kind", [cs.LIF, cs.CUBA, lambda: cs.SRM(theta=1.0), kinds.ResonateAndFire])
@pytest.mark.parametrize("rule", ["exact", "factored"])
def test_deep_networks_follow_backward(kind, rule):
    x = RNG.random((120, 4, 20)) < 0.15
    labels = np.arange(4) % 3
    layers = [stage for size in (20, 24, 24) for stage in (cs.Dense(size, 24), kind())]
    net = cs.Sequential(*layers, cs.ReadOut(24, 3))
    cs.calibrate(net, [(x, labels)])
    in_float64(net)
    output = cs.Tensor(net(x).data, requires_grad=True)
    cs.CrossEntropyLoss(over="mean")(output, labels).backward()
    _, wanted = backward(net, x, output.grad)
    _, found = online(net, x, output.grad, rule, edges=[0, 50, 120])
    least = (0.6, 0.8, 0.93, 0.999999)
    for ours, theirs, bound in zip(found, wanted, least, strict=True):
        assert cosine(ours, theirs) > bound
        # Errors that go on to earlier layers shrink, since a change now is less certain of earlier steps.
        assert 0.15 < np.linalg.norm(ours) / np.linalg.norm(theirs) < 1.1


def test_trained_constants_act_at_once():
    """An optimizer step changes a decay: the next step has it, and the state goes on."""
    net = in_float64(cs.Sequential(cs.Dense(3, 4, weight_scale=9.0), cs.LIF(), cs.ReadOut(4, 2, trained=True)))
    learner = OnlineLearner(graph_in_chunks(net), Online())
    before = learner.run(cs.Tensor(np.ones((20, 1, 3), bool)))[-1]
    net[2].tau.data = np.full_like(net[2].tau.data, 0.5)
    assert before.any()
    np.testing.assert_allclose(learner.run(cs.Tensor(np.zeros((1, 1, 3), bool)))[0], np.exp(-2.0) * before)


def test_convolutions_learn_by_factored_traces():
    x = RNG.random((60, 3, 8, 8, 2)) < 0.15
    labels = np.arange(3)
    stages = cs.Conv(2, 4, 3, padding=1), cs.LIF(), cs.SumPool(2, gain=1.1), cs.LIF(), cs.Dropout(0.1)
    net = cs.Sequential(*stages, cs.Dense((4, 4, 4), 12), cs.LIF(), cs.ReadOut(12, 3))
    cs.calibrate(net, [(x, labels)])
    net.eval()
    output = cs.Tensor(net(x).data, requires_grad=True)
    cs.CrossEntropyLoss(over="mean")(output, labels).backward()
    _, wanted = backward(net, x, output.grad)
    _, found = online(net, x, output.grad, "factored", edges=[0, 25, 60])
    for ours, theirs, bound in zip(found, wanted, (0.6, 0.85, 0.99), strict=True):
        assert cosine(ours, theirs) > bound


def trained(rule, stages, feedback="symmetric", epochs=20):
    cs.seed(3)
    net = cs.Sequential(*stages())
    x = RNG.random((60, 16, 20)) < 0.15
    labels = RNG.integers(0, 3, 16)
    online = None if rule is None else Online(rule, feedback=feedback)
    trainer = cs.Trainer(
        net, cs.CrossEntropyLoss(over="mean"), cs.Adam(net.parameters(), lr=0.01), online=online, log=lambda line: None
    )
    losses = [trainer.train([(x, labels)]).loss for _ in range(epochs)]
    return net, losses


def test_a_trainer_learns_the_same_as_backward():
    def stages():
        return cs.Dense(20, 32), cs.SRM(theta=1.0), cs.Dropout(0.2), cs.ReadOut(32, 3)

    RNG.bit_generator.state = np.random.default_rng(7).bit_generator.state
    theirs, losses = trained(None, stages)
    RNG.bit_generator.state = np.random.default_rng(7).bit_generator.state
    ours, of_ours = trained("exact", stages)
    np.testing.assert_allclose(of_ours, losses, rtol=1e-4)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(p.data, q.data, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("feedback", ["symmetric", "random", "adaptive"])
def test_feedback_learns(feedback):
    def stages():
        return cs.Dense(20, 32), cs.Recurrent(cs.Dense(32, 32), cs.LIF()), cs.ReadOut(32, 3)

    _, losses = trained("eprop", stages, feedback, epochs=60)
    assert min(losses[-5:]) < 0.85 * losses[0]


def test_adaptive_feedback_follows_the_weights():
    net = cs.Sequential(cs.Dense(4, 5), cs.LIF(), cs.ReadOut(5, 2))
    learner = OnlineLearner(graph_in_chunks(net), Online("eprop", feedback="adaptive"))
    last = learner.populations[2]
    x = np.ones((10, 1, 4))
    learner.run(cs.Tensor(x))
    learner.learn(np.ones((10, 1, 2), np.float32))
    drawn = last._feedback.copy()
    assert cosine(drawn, net[2].weight.data) < 0.9
    net[2].weight.data += 1.0
    learner.reset()
    np.testing.assert_allclose(last._feedback, 0.999 * drawn + 1.0, rtol=1e-5)


def test_a_stream_learns_at_each_step():
    def new():
        cs.seed(2)
        net = cs.Sequential(cs.Dense(6, 8, weight_scale=6.0), cs.CUBA(), cs.ReadOut(8, 2))
        return net, net.stream(
            online="exact", loss=cs.CrossEntropyLoss(), optimizer=cs.SGD(net.parameters(), lr=0.05, momentum=0.0)
        )

    x = RNG.random((30, 1, 6)) < 0.3
    net, stream = new()
    for frame in x:
        stream.step(frame)
        stream.learn(np.array([1]))
    weights = [p.data.copy() for p in net.parameters()]
    # The same by hand: traces continue while the weights change.
    net, _ = new()
    learner = OnlineLearner(graph_in_chunks(net), Online("exact"))
    for frame in x:
        output = cs.Tensor(learner.run(cs.Tensor(frame[None])), requires_grad=True)
        for p in net.parameters():
            p.grad = None
        cs.CrossEntropyLoss()(output, np.array([1])).backward()
        learner.learn(output.grad)
        for p in net.parameters():
            p.data = p.data - np.float32(0.05) * p.grad
    for ours, theirs in zip(weights, [p.data for p in net.parameters()], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    stream.reset()
    assert stream.steps == 0


@pytest.mark.parametrize("rule", ["exact", "factored"])
def test_memory_does_not_grow(rule):
    net = cs.Sequential(cs.Dense(20, 30), cs.SRM(theta=1.0), cs.ReadOut(30, 2))
    stream = net.stream(online=rule, loss=cs.CrossEntropyLoss(), optimizer=cs.Adam(net.parameters(), lr=1e-3))
    sizes = []
    tracemalloc.start()
    try:
        for step in range(900):
            stream.step(RNG.random((1, 20)) < 0.2)
            stream.learn(np.array([1]))
            if step % 300 == 299:
                gc.collect()
                sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    # One array of the hidden neurons that is kept a step would be 60 kB.
    assert sizes[2] - sizes[1] < 30_000


def test_what_cannot_learn_online():
    def learner(*stages, rule="exact"):
        return lambda: OnlineLearner(graph_in_chunks(cs.Sequential(*stages)), Online(rule))

    out = cs.ReadOut(4, 2)
    of_frames = cs.LIF(), cs.ReadOut((2, 2, 2), 2)
    recurrent = cs.Recurrent(cs.Dense(4, 4), cs.LIF())
    raises("layer 1 .* synapses to each other; use eprop", learner(cs.Dense(3, 4), recurrent, out))
    raises("layer 0 .* only Dense right before neurons .* use factored", learner(cs.Conv(1, 2, 3), *of_frames))
    raises("layer 2 Delay.* depends on other steps", learner(cs.Dense(3, 4), cs.LIF(), cs.Delay(4, dt=1.0), out))
    raises("layer 1 BatchNorm.* mean and variance", learner(cs.Dense(3, 4), cs.BatchNorm(4), cs.LIF(), out))
    with_bias = cs.Conv(1, 2, 3, bias=True)
    raises("layer 0 Conv.* its bias has no trace; use bias=False", learner(with_bias, *of_frames, rule="factored"))
    raises("layer 1 LIF.* goes on from call to call", learner(cs.Dense(3, 4), cs.LIF(stateful=True), out))
    timed = cs.LIF(gradient="eventprop")
    raises("layer 1 LIF.* needs a later step; use gradient='slayer'", learner(cs.Dense(3, 4), timed, out))
    long = kinds.SampledSRM(np.ones(2000))
    raises("layer 1 SampledSRM.* at most 1024 samples", learner(cs.Dense(3, 4), long, out))
    raises("feedback must be symmetric for the rule exact, got random; use eprop", lambda: Online("exact", "random"))


def test_places_of_a_dense_layer_are_refused():
    net = cs.Sequential(cs.Dense(3, 4), cs.LIF())
    learner = OnlineLearner(graph_in_chunks(net), Online())
    learner.run(cs.Tensor(np.ones((5, 2, 6, 3), bool)))
    raises("layer 1 cannot learn online: its Dense layer maps 6 places", lambda: learner.learn(None))


def test_calls_of_a_stream_that_learns():
    net = cs.Sequential(cs.Dense(3, 4), cs.LIF(), cs.ReadOut(4, 2))
    options = {"loss": cs.CrossEntropyLoss(), "optimizer": cs.Adam(net.parameters())}
    stream = net.stream(online="exact", **options)
    raises("stream: learn must follow a step", lambda: stream.learn(np.array([0])))
    raises("stream: loss must come with online", lambda: net.stream(online="exact"), TypeError)
    rules = "online must be Online or one of exact, factored, eprop"
    raises(rules, lambda: net.stream(online=3, **options), TypeError)
    raises("lengths must not be given with online", lambda: net.stream([3], online="exact", **options))
    both = {"truncate": 3, "online": "exact"}
    raises("truncate must not be given with online", lambda: cs.Trainer(net, *options.values(), **both))
