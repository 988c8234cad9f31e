"""Everything from an operation to an epoch on a device, against the CPU: on CUDA where there is one, and always on a
stand-in whose arrays refuse what CuPy's refuse (tools/fake_cupy/).
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend, functions
from cuslayer.data import Digits, Loader
from cuslayer.kernels.constants import Pooling, Window
from cuslayer.loss.base import OVER
from cuslayer.training import Config, Named, Trainer, train
from tests.support.tiny import (
    FILES,
    TIMES,
    memory,
    rows_without_seconds,
    silent,
    weights,
    write_folder,
    write_pair,
)
from tools.fake_cupy import strict

RNG = np.random.default_rng(12)
SRM, EXACT = cs.SRM(), cs.SRM(gradient="exact")
DEVICES = ["stand-in", *([] if backend._driver_problem() else [pytest.param("cuda", marks=pytest.mark.gpu)])]


@pytest.fixture(params=DEVICES, autouse=True)
def device(request):
    """The device "cuda" is in use, whoever stands behind the name."""
    if request.param == "cuda":
        cs.use("cuda")
        yield
    else:
        with strict():
            cs.use("cuda")
            yield
            cs.use("cpu")


def spikes(*shape, rate=0.2):
    return RNG.random(shape) < rate


def normal(*shape, scale=1.0):
    return RNG.standard_normal(shape) * scale


def module(x):
    return backend.namespace(x).__name__


def run(where, fn, arrays):
    """Return the result of an operation on a device, and the gradients of its arrays."""
    cs.use(where)
    cs.seed(3)
    tensors = [cs.Tensor(a, requires_grad=a.dtype != bool) for a in arrays]
    out = fn(*tensors)
    assert module(out.data) == {"cpu": "numpy", "cuda": "cupy"}[where]
    if out.requires_grad:
        dtype = np.float32 if out.dtype == bool else out.dtype
        out.backward(np.random.default_rng(5).standard_normal(out.shape).astype(dtype))
    grads = [t.grad for t in tensors if t.requires_grad]
    assert {module(g) for g in grads} <= {module(out.data)}
    return [backend.to_numpy(x) for x in (out.data, *grads)]


def padded(x):
    x.lengths = [30, 7]
    return x


# Neurons with constants of their own at each of six places, and desired counts of four at each.
PLACES = cs.LIF(tau=np.linspace(3.0, 20.0, 24).reshape(6, 4), theta=2.0).one_pass._asdict()
COUNTS, WEIGHT = np.arange(48.0).reshape(2, 6, 4) % 5, normal(7, 4, scale=8).astype(np.float32)
AT_STEPS = RNG.integers(-1, 5, (30, 2))
# The operation, its arrays, and whether its result is the CPU's to the bit.
OPERATIONS = {
    "psp": (SRM.psp, [normal(30, 2, 5)], True),
    "psp of spikes": (SRM.psp, [spikes(30, 2, 5)], True),
    "psp by samples": (lambda x: functions.psp(x, response=np.array([0.0, 1.0, 0.5])), [normal(30, 2, 5)], True),
    "neuron": (SRM, [normal(40, 2, 5, scale=10)], True),
    "neuron, exact": (EXACT, [normal(40, 2, 5, scale=10)], True),
    "spike": (SRM.spike, [normal(40, 2, 5, scale=10)], True),
    "spike, exact": (EXACT.spike, [normal(40, 2, 5, scale=10)], True),
    "dense": (functions.dense, [normal(9, 2, 7), normal(7, 4)], False),
    "dense of spikes": (functions.dense, [spikes(9, 2, 7), normal(7, 4)], False),
    "conv": (
        lambda x, w: functions.conv(x, w, padding=1, stride=2),
        [normal(3, 2, 6, 7, 4), normal(3, 3, 4, 6)],
        False,
    ),
    "conv of spikes": (functions.conv, [spikes(3, 2, 6, 7, 4), normal(3, 3, 4, 6)], False),
    "conv and its neurons": (
        lambda x, *w: functions.conv_neuron(x, *w, spiking=SRM.spiking, padding=1),
        [spikes(30, 2, 5, 6, 2), normal(3, 3, 2, 4, scale=8), normal(4, scale=2)],
        False,
    ),
    "conv, pool and their neurons": (
        lambda x, *w: functions.conv_pool(
            x,
            *w,
            spiking=SRM.spiking,
            pooling=Pooling(Window.of(2, 2, 0, 1), 11.0, (), SRM.spiking),
        ),
        [spikes(30, 2, 5, 6, 2), normal(3, 3, 2, 4, scale=8), normal(4, scale=2)],
        False,
    ),
    "dense and its neurons": (
        lambda x, *w: functions.dense_neuron(x, *w, spiking=SRM.spiking),
        [spikes(30, 2, 7), normal(7, 4, scale=8), normal(4, scale=2)],
        False,
    ),
    "dense of places": (functions.dense, [spikes(9, 2, 3, 2, 7), normal(7, 4)], False),
    "neurons of places, then of all": (
        lambda x, *w: functions.dense_neuron(
            functions.dense_neuron(functions.dense_neuron(x, w[0], **PLACES), w[1], w[2], **PLACES),
            w[3],
            spiking=SRM.spiking,
        ),
        [spikes(30, 2, 6, 7), normal(7, 4, scale=3), normal(4, 4, scale=3), normal(4), normal(24, 3, scale=8)],
        True,
    ),
    "places of frames, then convolution, pool and neurons": (
        lambda x, *w: functions.pool_neuron(
            functions.dense_neuron(
                functions.conv_neuron(functions.dense_neuron(x, w[0], spiking=SRM.spiking), w[1], spiking=SRM.spiking),
                w[2],
                spiking=SRM.spiking,
            ),
            kernel_size=2,
            gain=11.0,
            spiking=SRM.spiking,
        ),
        [spikes(30, 2, 5, 6, 2), normal(2, 3, scale=8), normal(2, 3, 3, 4, scale=8), normal(4, 3, scale=8)],
        True,
    ),
    "count of places": (
        lambda x: functions.spike_count_error(
            functions.dense_neuron(x, backend.to_device(WEIGHT), spiking=SRM.spiking),
            desired=backend.to_device(COUNTS),
            window=(5, 25),
            response=SRM.filter,
        ),
        [spikes(30, 2, 6, 7)],
        False,
    ),
    "neurons of hidden layers with a bias": (
        lambda x, *w: functions.conv_neuron(
            functions.conv_neuron(x, *w, spiking=SRM.spiking), *w, spiking=SRM.spiking, padding=1
        ),
        [spikes(30, 2, 5, 6, 2), normal(3, 3, 2, 2, scale=8), normal(2, scale=2)],
        False,
    ),
    "pool": (lambda x: functions.pool(x, kernel_size=2, gain=11.0), [normal(3, 2, 5, 6, 2)], False),
    "pool of spikes": (lambda x: functions.pool(x, kernel_size=3, stride=2, gain=11.0), [spikes(3, 2, 5, 6, 2)], False),
    "mean pool": (cs.AvgPool(2), [normal(3, 2, 5, 6, 2)], False),
    "mean pool of spikes": (cs.AvgPool(3, stride=2, padding=1), [spikes(3, 2, 5, 6, 2)], False),
    "mean of frames": (cs.GlobalAvgPool(), [spikes(3, 2, 5, 6, 2)], False),
    "rectifier": (cs.ReLU(), [normal(3, 2, 5)], True),
    "rounded rectifier": (
        lambda x, limit: functions.quantized_relu(x, limit, levels=4),
        [normal(3, 2, 5), np.array(1.5, np.float32)],
        True,
    ),
    "max pool": (cs.MaxPool(2), [normal(3, 2, 5, 6, 2)], True),
    "max pool of spikes": (cs.MaxPool(3, stride=2, padding=1), [spikes(3, 2, 5, 6, 2)], True),
    "shift": (lambda x: cs.functions.shift(x, delay=[2.0, -3.0, 0.0]), [normal(9, 2, 3)], True),
    "shift of spikes": (lambda x: cs.functions.shift(x, delay=-2.0), [spikes(9, 2, 3)], True),
    "shift between steps": (
        lambda x, d: cs.functions.shift(x, delay=d, mode="linear"),
        [normal(9, 2, 2, 2, 3), normal(2, 2, 3, scale=3)],
        True,
    ),
    "spikes and their delays": (
        lambda x, d: cs.functions.shift(x, delay=d),
        [spikes(9, 2, 3), normal(3, scale=3)],
        True,
    ),
    "lags of spikes": (lambda x: functions.lagged(x, lags=3, groups=2), [spikes(9, 2, 4)], True),
    "weights over lags": (lambda w: functions.weights_over_lags(w, abs(w), lags=4, width=0.7), [normal(3, 2)], True),
    "fir": (functions.fir, [normal(30, 2, 5), normal(7)], True),
    "filter bank": (functions.filter_bank, [normal(20, 2, 2, 3, 2), normal(3, 7)], True),
    "filter bank of spikes": (functions.filter_bank, [spikes(20, 2, 5), normal(3, 7)], True),
    "time loss": (cs.SpikeTimeLoss(SRM), [normal(30, 2, 5), spikes(30, 2, 5)], False),
    "count loss": (lambda s: cs.SpikeCountLoss(SRM, window=(5, 25))(s, [1, 4]), [normal(30, 2, 5)], False),
    "count loss, padded": (lambda s: cs.SpikeCountLoss(SRM, 5, 1)(padded(s), [1, 4]), [normal(30, 2, 5)], False),
    "labels at each step": (lambda a: cs.CrossEntropyLoss("every")(padded(a), AT_STEPS), [normal(30, 2, 5)], False),
    "normalized, padded": (lambda x: cs.BatchNorm(5)(padded(x)), [normal(30, 2, 5)], False),
    "network, padded": (
        lambda x: cs.Sequential(cs.Dense(5, 4, weight_scale=30.0), SRM)(padded(x)),
        [spikes(30, 2, 5)],
        True,
    ),
    "spikes in arithmetic": (lambda s, a: 1.0 - s * a, [spikes(3, 4), normal(3, 4)], False),
    "reshape and slice": (lambda a: a.reshape(2, 6)[1:, ::2] * a[None, 0, :3], [normal(3, 4)], False),
    "index twice": (lambda a: a[np.array([0, 2, 2])], [normal(3, 2)], False),
    "transposed": (
        lambda x, w: functions.conv_transpose(x, w, padding=1, stride=2, output_padding=1),
        [normal(3, 2, 4, 5, 4), normal(3, 3, 6, 4)],
        False,
    ),
    "transposed, of spikes": (functions.conv_transpose, [spikes(3, 2, 4, 5, 4), normal(3, 3, 6, 4)], False),
    "unpool": (lambda x: functions.unpool(x, kernel_size=2, gain=11.0), [normal(3, 2, 5, 6, 2)], False),
    "weighted pool": (functions.weighted_pool, [normal(3, 2, 5, 6, 2), normal(2, 3, 1, 1)], False),
    "weighted unpool": (functions.weighted_unpool, [normal(3, 2, 5, 6, 2), normal(2, 3, 1, 1)], False),
    "replicate": (lambda x: cs.functions.replicate(x, steps=7), [normal(2, 3, 4, 2)], True),
    "quantize": (lambda w: cs.functions.quantize(w, 0.5), [normal(5, 6)], True),
    "weight norm": (functions.weight_norm, [normal(5, 6), normal(1, 6)], False),
    "winners": (lambda x: functions.k_winners(x, k=2), [normal(30, 2, 3, 5)], False),
    **{
        f"decimate, {how}": (lambda x, h=how: functions.decimate(x, factor=4, how=h), [normal(30, 2, 3, 5)], False)
        for how in ("sum", "mean", "max", "last")
    },
    "synaptic operations": (
        lambda x: functions.synaptic_operations(x, fan_out=np.arange(15.0).reshape(3, 5)),
        [normal(30, 2, 3, 5)],
        False,
    ),
}
# Losses of numbers, of numbers that are 0 or 1, and of spikes.
LABELS, MANY = [1, 4], np.array([[1, 0, 1, 0, 0], [0, 1, 1, 1, 0]])
LOSSES = {
    "spike count": lambda s: cs.SpikeCountLoss(SRM, true=7, false=2, window=(5, 25), count_scale=3.0)(s, LABELS),
    "piecewise count": lambda s: cs.SpikeCountLoss(SRM, true=15, window=(5, 25), piecewise=True)(s, LABELS),
    "rate": lambda s: cs.loss.SpikeRateLoss(SRM, window=(5, 25))(s, LABELS),
    "first spikes": lambda s: cs.loss.FirstSpikeLoss(SRM, early=0.1, window=(5, 25))(s, LABELS),
    "spike max": lambda s: cs.loss.SpikeMaxLoss(SRM, window=(5, 25))(s, LABELS),
    "window": lambda s: cs.loss.ProbabilityWindowLoss(SRM)(s, LABELS),
    "window of ratios": lambda s: cs.loss.ProbabilityWindowLoss(SRM, width=7, probability="ratio")(abs(s), LABELS),
    **{over: lambda s, over=over: cs.CrossEntropyLoss(over, window=(5, 25))(s, LABELS) for over in OVER},
    "several labels": lambda s: cs.BinaryCrossEntropyLoss("max", slope=2.0)(s, MANY),
    "regularizer": cs.loss.RateRegularizer(50, 300),
    "moving count": lambda s: functions.moving_count(s, width=4),
}
for _name, _loss in LOSSES.items():
    for _x in (normal(30, 2, 5), spikes(30, 2, 5).astype(float), spikes(30, 2, 5)):
        OPERATIONS[f"{_name} loss, {len(OPERATIONS)}"] = _loss, [_x], False


# Each operation in one type, in turn: the twins of its kernels are compared in both.
@pytest.mark.parametrize(
    ("name", "dtype"), [(name, ("float32", "float64")[place % 2]) for place, name in enumerate(OPERATIONS)]
)
def test_an_operation(name, dtype):
    fn, given, to_the_bit = OPERATIONS[name]
    arrays = [a if a.dtype == bool else a.astype(dtype) for a in given]
    ours, theirs = run("cuda", fn, arrays), run("cpu", fn, arrays)
    assert [(a.dtype, a.shape) for a in ours] == [(a.dtype, a.shape) for a in theirs]
    if to_the_bit:
        assert ours[0].tobytes() == theirs[0].tobytes()
    # Spikes are pooled in float32, whatever the weights are.
    tolerances = {"bool": 0, "float32": 1e-5, "float64": 1e-5 if "pool and" in name else 1e-12}
    for mine, other in zip(ours, theirs, strict=True):
        tolerance = tolerances[other.dtype.name]
        np.testing.assert_allclose(mine, other, rtol=0, atol=tolerance * max(1.0, np.abs(other).max(initial=0)))


def hooked(srm):
    """Return a network with weight hooks, of which one has scales that are trained."""
    hooks = (cs.WeightNorm(), lambda w: cs.functions.quantize(w, step=0.5))
    front = cs.ConvTranspose(2, 4, 3, stride=2, groups=2, weight_hook=hooks)
    return cs.Sequential(front, srm, cs.Dense((9, 9, 4), 3, weight_hook=cs.WeightNorm()), srm)


def step(where):
    cs.use(where)
    cs.seed(7)
    net = hooked(SRM)
    for p in net.parameters():
        # A device adds up a product in an order of its own: in float32 that may move a potential over the threshold.
        p.data = p.data.astype(np.float64)
    x = np.random.default_rng(0).random((30, 2, 4, 4, 2)) < 0.15
    optimizer = cs.SGD(net.parameters())
    out = net(x)
    cs.SpikeCountLoss(SRM, true=12, false=2, window=(5, 30))(out, [0, 2]).backward()
    assert {module(p.data) for p in net.parameters()} == {module(out.data)}
    grads = [backend.to_numpy(p.grad) for p in net.parameters()]
    optimizer.step()
    return out.numpy(), grads, [*net.state().values()]


def test_a_training_step_of_a_network_with_hooks():
    """Others are in `test_drawn_networks.py`, and the steps of optimizers in `test_optimizers.py`."""
    out, grads, weights = step("cuda")
    expected, their_grads, their_weights = step("cpu")
    assert expected.any()
    assert (out == expected).all()
    for mine, other in zip(grads, their_grads, strict=True):
        assert other.any()
        # What spikes are pooled to is float32, and so is its gradient.
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-6 * np.abs(other).max())
    for mine, other in zip(weights, their_weights, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-6)


def test_an_epoch_learns_and_can_be_taken_up_elsewhere(ascending):
    net = cs.Network("34x34x2-4a-16-10", SRM)
    optimizer = cs.Adam(net.parameters(), lr=0.01, amsgrad=True)
    trainer = Trainer(net, cs.SpikeCountLoss(SRM, true=15, false=3, window=(0, 60)), optimizer)
    batches = list(Loader(Digits("test"), 4, steps=60))[:2]
    scores = [trainer.train(batches) for _ in range(4)]
    assert scores[-1].loss < 0.7 * scores[0].loss
    before = trainer.test(batches)
    state, memory = net.state(), optimizer.state()
    assert {type(a) for a in (*state.values(), *memory.values())} == {np.ndarray}
    for where, name in (("cuda", "cupy"), ("cpu", "numpy")):
        cs.use(where)
        other = cs.Network("34x34x2-4a-16-10", SRM)
        other.load_state(state)
        taken_up = cs.Adam(other.parameters(), lr=0.01, amsgrad=True)
        taken_up.load_state(memory)
        assert module(other.parameters()[0].data) == module(taken_up.memory[0]["peak"]) == name
        score = Trainer(other, trainer.loss, taken_up).test(batches)
        # Elsewhere a spike or two may fall otherwise.
        assert score == before if where == "cuda" else score.loss == pytest.approx(before.loss, rel=0.02)


@pytest.mark.parametrize("error", [Named("SpikeCountLoss", {"true": 6.0, "false": 1.0}), TIMES])
def test_a_resumed_run_is_the_run_that_never_stopped(ascending, error, tmp_path):
    write, words = {
        "SpikeCountLoss": (write_folder, ("34x34x2", "4a", "8", "3")),
        "SpikeTimeLoss": (write_pair, ("5", "8", "5")),
    }[error.name]
    data = str(write(tmp_path / "data"))
    base = Config(error=error, layers=words, data=data, duration=20.0, batch=4)
    said = []
    whole = train(base.with_options(epochs=2, out=str(tmp_path / "whole")), log=said.append)
    assert backend.device_name() in said[0]
    half = base.with_options(epochs=1, out=str(tmp_path / "half"))
    out = train(half, log=silent)
    assert weights(out) != weights(whole)
    train(half.with_options(epochs=2), resume=True, log=silent)
    assert rows_without_seconds(out)[-1] == rows_without_seconds(whole)[-1]
    assert weights(out) == weights(whole)
    assert memory(out) == memory(whole)
    assert sorted(p.name for p in out.iterdir()) == FILES


def test_labels_and_answers_may_be_on_the_device():
    x = spikes(30, 4, 3)
    labels = backend.to_device(np.array([0, 2, 1, 2]))
    loss = cs.SpikeCountLoss(SRM, true=5, false=1)
    assert loss(x, labels).item() == pytest.approx(loss(x, [0, 2, 1, 2]).item())
    answers = cs.classify(cs.Tensor(x))
    assert isinstance(answers, np.ndarray)
    assert answers.tolist() == x.sum(axis=0).argmax(axis=1).tolist()
    assert "Tensor(" in repr(cs.Tensor(x))


@pytest.mark.parametrize("device", ["stand-in"], indirect=True)
def test_the_tests_of_a_device_run(device):
    """`pytest -m gpu`, on the stand-in: one quick test of every module that it takes up, and what once failed there."""
    quick = "twins_psp twins_store response_shapes srm_neuron_is_what linear_without_steps_or_samples"
    quick += " dense_images_are_flattened conv_what_lies_beyond pool_equals_the_formula delay_a_layer_is_its_function"
    quick += " fused_neurons losses_spike_time layers_state_round_trip optimizers_sgd trainer_training_equals"
    quick += " emulated_networks_a_training_step"
    options = "-m pytest -m gpu -vv -p no:cacheprovider tests/device/test_card.py -k"
    found = subprocess.run(
        [sys.executable, *options.split(), " or ".join(f"test_{name}" for name in quick.split())],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "CUSLAYER_STAND_IN": "1", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout[-4000:]
    passed = re.findall(r"test_card\.py::test_(\S+) PASSED", found.stdout)
    assert [name for name in quick.split() if not any(test.startswith(name) for test in passed)] == []
