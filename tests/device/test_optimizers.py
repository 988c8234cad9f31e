"""Optimizers on a device: the bits of the CPU, one launch a step, and nothing sent for many steps."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend
from cuslayer._parameter import Bounded
from cuslayer.optim import ahead
from tests.device.test_operations import device as device
from tools.fake_cupy import captured, counted

STEPS = 11


def parameters(dtype="float32"):
    rng = np.random.default_rng(4)
    found = [cs.Tensor(rng.standard_normal(n).astype(dtype), requires_grad=True) for n in (5, 1, 0, 1030)]
    return [*found, Bounded(rng.random(3).astype(dtype), least=0.2, most=0.6)]


def change_all(step, optimizer):
    """Change, over the steps, all that an optimizer looks at before each."""
    optimizer.parameters[0].requires_grad = step not in (2, 3, 8)
    optimizer.epoch = step // 3
    if step in (1, 4):
        optimizer.parameters[3].grad = None
    if step == 7:  # the rates are those of the table of step 6
        optimizer.weight_decay = 0.25
    if step == 6:
        state = optimizer.state()
        state["steps"] = np.array(2)
        optimizer.load_state(state)
    if step == 9:
        optimizer.lr = 0.3


def change_rates(step, optimizer):
    optimizer.epoch = step // 3
    if step == 9:
        optimizer.lr = 0.3


def go_back(step, optimizer):
    """Only the count of steps: with other arrays of the state, a graph would have to be captured again."""
    if step == 6:
        optimizer.steps, optimizer._taken = 2, [2 for _ in optimizer.parameters]


def nothing(step, optimizer):
    pass


def grouped(p, **options):
    return [{"params": p[:2], **options}, {"params": p[2:], "weight_decay": 0.1, "warmup": 5, "relative": True}]


MAKERS = {
    "sgd": lambda p: cs.SGD(p, 0.1),
    "sgd in groups": lambda p: cs.SGD(grouped(p, momentum=0.7, lr=0.2), 0.1, momentum=0.5),
    "adam": lambda p: cs.Adam(p, lambda epoch: 0.1 / (1 + epoch), weight_decay=0.1),
    "adam by step": lambda p: cs.Adam(p, cs.optim.cosine_decay(0.1, steps=9)),
    "adam in groups": lambda p: cs.Adam(grouped(p, betas=(0.5, 0.7), amsgrad=True, eps=0.1), 0.1),
    "amsgrad": lambda p: cs.Adam(p, 0.1, amsgrad=True, warmup=4, relative=True),
    "nadam": lambda p: cs.optim.NAdam(p, 0.1, amsgrad=True),
    "slayer's nadam": lambda p: cs.optim.NAdam(p, 0.1, momentum_decay=None),
}


def path(where, make, change, dtype="float32"):
    """Return the weights after each step, and the state after the last."""
    cs.use(where)
    optimizer = make(parameters(dtype))
    rng, found = np.random.default_rng(5), []
    for step in range(STEPS):
        for p in optimizer.parameters:
            p.grad = backend.to_device(rng.standard_normal(p.shape).astype(dtype))
        change(step, optimizer)
        optimizer.step()
        found += [backend.to_numpy(p.data).tobytes() for p in optimizer.parameters]
    state = optimizer.state()
    return [*found, *(f"{name} {array.tolist()}".encode() for name, array in sorted(state.items()))]


@pytest.mark.parametrize("change", [nothing, change_all])
@pytest.mark.parametrize("name", MAKERS)
def test_the_bits_of_the_cpu(name, change, monkeypatch):
    monkeypatch.setattr(ahead, "STEPS", 4)
    assert path("cuda", MAKERS[name], change) == path("cpu", MAKERS[name], change)


@pytest.mark.parametrize("name", ["sgd", "nadam"])
def test_the_bits_in_float64(name):
    assert path("cuda", MAKERS[name], nothing, "float64") == path("cpu", MAKERS[name], nothing, "float64")


def with_gradients(make):
    optimizer = make(parameters())
    for p in optimizer.parameters:
        p.grad = backend.to_device(np.ones(p.shape, np.float32))
    return optimizer


@pytest.mark.parametrize("device", ["stand-in"], indirect=True)
@pytest.mark.parametrize("name", MAKERS)
def test_a_step_is_one_launch(name, device):
    optimizer = with_gradients(MAKERS[name])
    optimizer.step()
    with counted() as costs:
        for _ in range(20):
            optimizer.step()
    assert costs.own() == {"sgd_all" if "sgd" in name else "adam_all": 20}
    assert (costs.launches, costs.uploads, costs.readbacks) == (20, 0, 0)


@pytest.mark.parametrize("device", ["stand-in"], indirect=True)
def test_numbers_are_sent_when_they_run_out_or_change(device, monkeypatch):
    monkeypatch.setattr(ahead, "STEPS", 5)
    optimizer = with_gradients(lambda p: cs.Adam(p, 0.1))
    sent = []
    for step in range(12):
        if step == 7:
            optimizer.lr = 0.2
        with counted() as costs:
            optimizer.step()
        sent.append(costs.uploads)
    assert sent == [3, 0, 0, 0, 0, 3, 0, 3, 0, 0, 0, 0]


@pytest.mark.parametrize("device", ["stand-in"], indirect=True)
@pytest.mark.parametrize(("name", "change"), [("adam", change_rates), ("amsgrad", go_back)])
def test_a_captured_step_takes_the_next_rates(name, change, device, monkeypatch):
    monkeypatch.setattr(ahead, "STEPS", 4)

    def moved(as_graph):
        optimizer, launch, found = with_gradients(MAKERS[name]), None, []
        for step in range(STEPS):
            change(step, optimizer)
            if not as_graph:
                optimizer.step()
            elif launch is None:
                optimizer.prepare()
                with captured() as graph:
                    optimizer.step()
                launch = graph.launch
                launch()
            else:
                optimizer.step_by(launch)
            found.append([backend.to_numpy(p.data).tobytes() for p in optimizer.parameters])
        return [*found, {name: array.tolist() for name, array in optimizer.state().items()}]

    assert moved(True) == moved(False)


def test_a_captured_step_needs_all_parameters_on_a_gpu():
    cs.use("cpu")
    optimizer = with_gradients(MAKERS["adam"])
    optimizer.prepare()
    with pytest.raises(ValueError, match=r"^Adam: a step can be captured only if all parameters are on a GPU$"):
        optimizer.step_by(lambda: None)


def test_parameters_of_two_types_and_devices_move_together():
    found = []
    for where in ("cuda", "cpu"):
        cs.use("cpu")
        p = [cs.Tensor(np.ones(3), requires_grad=True)]
        cs.use(where)
        p += [cs.Tensor(np.ones(4, dtype), requires_grad=True) for dtype in (np.float32, np.float64, np.float32)]
        p[0].grad = np.full(3, 2.0)
        for other in p[1:]:
            other.grad = backend.to_device(np.full(4, 3.0, other.dtype))
        optimizer = cs.Adam(p, 0.1)
        optimizer.step()
        optimizer.step()
        found.append([backend.to_numpy(each.data).tolist() for each in p])
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "clip", [{"clip_norm": 1.0}, {"clip_value": 2.0}, {"clip_norm": 4.0, "clip_value": 2.0}], ids=str
)
def test_gradients_of_two_types_are_clipped_together(clip):
    found = []
    for where in ("cuda", "cpu"):
        cs.use(where)
        p = [cs.Tensor(np.ones(4, dtype), requires_grad=True) for dtype in (np.float32, np.float64, np.float32)]
        for factor, each in enumerate(p, start=1):
            each.grad = backend.to_device(np.full(4, factor, each.dtype))
        cs.SGD(p, 0.25, **clip).step()
        found.append([backend.to_numpy(each.grad) for each in p])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert found[0][1].max() < 2.0 or "clip_norm" not in clip


class Signs(cs.SGD):
    """An optimizer with an `_update` of its own."""

    def _update(self, k, weight, grad, memory, update):
        weight -= update.lr * ((grad > 0) * 1.0 - (grad < 0) * 1.0)


class Rounded(Bounded):
    """A parameter that is clipped in another way."""

    def clamp(self):
        self.data[...] = self.data.clip(0.0, 1.0) * 0.5


@pytest.mark.parametrize("make", [lambda p: Signs(p, 0.1), lambda p: cs.SGD(p, 0.1)])
def test_what_users_override_is_called(make):
    found = []
    for where in ("cuda", "cpu"):
        cs.use(where)
        p = Rounded([-3.0, 0.5, 2.0])
        p.grad = backend.to_device(np.array([1.0, -2.0, 0.0], np.float32))
        make([p]).step()
        found.append(backend.to_numpy(p.data).tolist())
    assert found[0] == found[1]
