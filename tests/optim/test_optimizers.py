"""The optimizers against their formulas, step by step."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import cuslayer as cs
from cuslayer.optim.ahead import StepsAhead
from tests.support.refused import refuses


def run(make, steps=25, shape=(7, 5)):
    """Return the weights after each step of an optimizer along gradients that are drawn, and the gradients."""
    generator = np.random.default_rng(11)
    w = cs.Tensor(generator.standard_normal(shape), requires_grad=True)
    start, optimizer = w.data.copy(), make([w])
    grads = generator.standard_normal((steps, *shape)) * generator.uniform(0.1, 3, (steps, 1, 1))
    path = []
    for g in grads:
        w.grad = g
        optimizer.step()
        path.append(w.data.copy())
    return start, grads, path


@pytest.mark.parametrize(("momentum", "decay"), [(0.0, 0.0), (0.9, 0.1)])
def test_sgd(momentum, decay):
    w, grads, path = run(lambda p: cs.SGD(p, 0.05, momentum=momentum, weight_decay=decay))
    v = 0.0
    for g, moved in zip(grads, path, strict=True):
        v = momentum * v + g + decay * w
        w = w - 0.05 * v
        np.testing.assert_allclose(moved, w, rtol=1e-12)


@pytest.mark.parametrize(("amsgrad", "decay"), [(False, 0.0), (True, 0.1)])
def test_adam(amsgrad, decay):
    w, grads, path = run(lambda p: cs.Adam(p, 0.02, betas=(0.8, 0.95), eps=1e-3, weight_decay=decay, amsgrad=amsgrad))
    m = v = peak = 0.0
    for n, (g, moved) in enumerate(zip(grads, path, strict=True), start=1):
        g = g + decay * w
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g * g
        peak = np.maximum(peak, v)
        square = peak if amsgrad else v
        w = w - 0.02 * (m / (1 - 0.8**n)) / (np.sqrt(square / (1 - 0.95**n)) + 1e-3)
        np.testing.assert_allclose(moved, w, rtol=1e-10)


@pytest.mark.parametrize(("amsgrad", "decay", "momentum_decay"), [(False, 0.1, 0.004), (True, 0.0, 0.0)])
def test_nadam(amsgrad, decay, momentum_decay):
    options = {"weight_decay": decay, "amsgrad": amsgrad, "momentum_decay": momentum_decay}
    w, grads, path = run(lambda p: cs.optim.NAdam(p, 0.02, **options))
    m = v = peak = 0.0
    product = 1.0
    for n, (g, moved) in enumerate(zip(grads, path, strict=True), start=1):
        g = g + decay * w
        mu, ahead = (0.9 * (1 - 0.5 * 0.96 ** (k * momentum_decay)) for k in (n, n + 1))
        product *= mu
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        peak = np.maximum(peak, v)
        step = ahead * m / (1 - product * ahead) + (1 - mu) * g / (1 - product)
        w = w - 0.02 * step / (np.sqrt((peak if amsgrad else v) / (1 - 0.999**n)) + 1e-8)
        np.testing.assert_allclose(moved, w, rtol=1e-9)


@pytest.mark.parametrize(("amsgrad", "decay"), [(False, 0.0), (True, 0.1)])
def test_nadam_of_slayer(amsgrad, decay):
    """The equations of SLAYER-PyTorch's Nadam: constant momentum, and eps beside the root without correction."""
    options = {"betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": decay, "amsgrad": amsgrad, "momentum_decay": None}
    w, grads, path = run(lambda p: cs.optim.NAdam(p, 0.02, **options))
    m = v = peak = 0.0
    for n, (g, moved) in enumerate(zip(grads, path, strict=True), start=1):
        g = g + decay * w
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g * g
        peak = np.maximum(peak, v)
        divisor = np.sqrt(peak if amsgrad else v) + 1e-3
        step_size = 0.02 * np.sqrt(1 - 0.95**n) / (1 - 0.8**n)
        w = w - step_size * (0.8 * m + 0.2 * g) / divisor
        np.testing.assert_allclose(moved, w, rtol=1e-10)


MAKES = [lambda p: cs.SGD(p, momentum=0.5), lambda p: cs.Adam(p, amsgrad=True), cs.optim.NAdam]


@pytest.mark.parametrize("make", MAKES)
@pytest.mark.parametrize("shape", [(0,), (1,), (3, 5, 1), (5000, 3)])
def test_shapes_and_types(make, shape):
    w = cs.Tensor(np.ones(shape, np.float32), requires_grad=True)
    optimizer = make([w])
    w.grad = np.ones(shape[::-1], np.float32).T  # not contiguous
    optimizer.step()
    assert w.shape == shape
    assert w.dtype == np.float32
    assert (w.data < 1).all()


@pytest.mark.parametrize("make", MAKES)
def test_another_state_is_refused(make):
    optimizer = make([cs.Tensor(np.ones(4), requires_grad=True)])
    optimizer.parameters[0].grad = np.ones(4)
    optimizer.step()
    state = optimizer.state()
    with refuses("load_state: optimizer's steps is missing"):
        optimizer.load_state({k: v for k, v in state.items() if k != "steps"})
    name = next(k for k in state if k != "steps")
    with refuses(f"load_state: optimizer's {name} has shape (1,), the parameter's has"):
        optimizer.load_state({**state, name: np.ones(1)})


def test_schedules():
    w = cs.Tensor([1.0], requires_grad=True)
    optimizer = cs.SGD([w], cs.optim.step_decay(0.5, every=2, factor=0.1))
    rates = []
    for epoch in range(5):
        optimizer.epoch = epoch
        rates.append(optimizer.lr)
    assert rates == pytest.approx([0.5, 0.5, 0.05, 0.05, 0.005])
    cosine = cs.optim.cosine_decay(1.0, epochs=4, least=0.2)
    assert [cosine(e) for e in (0, 2, 4, 9)] == pytest.approx([1.0, 0.6, 0.2, 0.2])
    assert cs.Adam([w], lambda epoch: 0.25).lr == 0.25


@pytest.mark.cpu_only
def test_a_weight_that_could_not_be_moved_is_refused():
    """A copy would be moved in its place, in silence."""
    w = cs.Tensor(np.ones((2, 3)), requires_grad=True)
    w.data, w.grad = np.ones((3, 2)).T, np.ones((2, 3))
    for optimizer in (cs.SGD([w]), cs.Adam([w])):
        with pytest.raises(ValueError, match=r"(SGD|Adam|NAdam): w must be C-contiguous, got strides \(8, 16\)"):
            optimizer.step()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda w: cs.Adam(w, lambda epoch: -0.5).lr, "Adam: lr must not be negative, got -0.5"),
        (lambda w: cs.optim.NAdam([]), "NAdam: parameters must be at least one, got none"),
        (lambda w: cs.Adam(w, betas=0.9), r"Adam: betas must be two numbers, got 0\.9"),
        (lambda w: cs.optim.cosine_decay(1), "cosine_decay: epochs or steps must be given, one of them, got None"),
        (
            lambda w: cs.optim.cosine_decay(1, step=2),
            "cosine_decay: got an unexpected keyword argument 'step'; did you mean steps?",
        ),
        (
            lambda w: cs.optim.cosine_decay(1, epochs=2, warmup=3),
            "cosine_decay: got an unexpected keyword argument 'warmup'; .* warmup=100",
        ),
    ],
)
def test_errors(make, message):
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        make([cs.Tensor([1.0], requires_grad=True)])


@pytest.mark.parametrize("make", MAKES)
def test_a_state_is_a_copy(make):
    """What was read stays, and what was loaded is not written to, whatever steps follow."""

    def step(optimizer):
        optimizer.parameters[0].grad = np.array([1.0, 2.0])
        optimizer.step()

    first, second = (make([cs.Tensor(np.ones(2), requires_grad=True)]) for _ in range(2))
    step(first)
    state = first.state()
    before = {name: array.copy() for name, array in state.items()}
    step(first)
    second.load_state(state)
    step(second)
    assert all((state[name] == before[name]).all() for name in before)
    assert all((first.state()[name] == second.state()[name]).all() for name in before)


def test_usual_constants():
    """Those of the papers, and for SGD and NAdam those of PyTorch, from which networks are taken over."""
    w = [cs.Tensor([1.0], requires_grad=True)]
    assert (cs.SGD(w).lr, cs.SGD(w).momentum) == (0.01, 0.0)
    for optimizer, lr in ((cs.Adam(w), 0.001), (cs.optim.NAdam(w), 0.002)):
        assert (optimizer.lr, optimizer.betas, optimizer.eps, optimizer.weight_decay) == (lr, (0.9, 0.999), 1e-8, 0.0)
    assert cs.optim.NAdam(w).momentum_decay == 0.004
    assert cs.optim.NAdam(w, momentum_decay=None).lr == 0.001
    assert "peak" not in cs.Adam(w).memory[0]


@given(st.lists(st.tuples(st.sets(st.integers(0, 3), min_size=1), st.booleans()), min_size=1, max_size=6))
def test_what_a_device_has_noted_outlives_a_change_of_the_parameters(steps):
    """Frozen parameters, other rates, new tables: each note is reported once, with its step and parameter."""
    ahead, wrong, reported = StepsAhead(np.dtype(np.float32)), [], []
    for step, (parameters, looks) in enumerate(steps, start=1):
        chosen = tuple(sorted(parameters))
        rows = [(float(step // 2), float(i)) for i in chosen]
        ahead.prepare(lambda n, rows=rows: rows, rows, np.zeros(1, np.float32), chosen, step - 1)
        assert [x.shape[-2] for x in ahead.arrays if x.ndim > 1] == [len(chosen)] * 3
        assert ahead.arrays[2].sum() == step - 1
        ahead.arrays[2][0] += 1  # as the kernel does
        noted = ahead.arrays[3][step % len(chosen)]
        if not noted.any():
            noted[step % 2] = step
            wrong.append((step, chosen[step % len(chosen)], ("gradient", "update")[step % 2]))
        ahead.advance()
        reported += ahead.not_finite() if looks else []
    reported += ahead.not_finite()
    assert sorted(map(tuple, reported)) == sorted(wrong)
    assert ahead.not_finite() == []
