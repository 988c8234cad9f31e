"""Neurons that are written as a step: what a step may have, and its derived gradient on the smooth twin."""

from __future__ import annotations

import ast
import re
import runpy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer._parameter import Bounded
from cuslayer._tape import on_potential
from cuslayer.kernels.step.derive import adjoint, difference
from cuslayer.kernels.step.kind import read_step
from cuslayer.neurons.step import ago, flushed
from tests.support.kinds import (
    Compartments,
    Delayed,
    Echo,
    Names,
    Offset,
    OwnBackward,
    PlainNames,
    Quadratic,
    Resting,
    Ties,
)
from tests.support.refused import refuses
from tools.emulator.driver import emulation


def calls(c, v, x):
    u = np.tanh(v) + x
    return u, u, u >= c.theta


def loops(c, v, x):
    for _ in range(3):
        v = v + x
    return v, v, v >= c.theta


def unknown(c, v, x):
    u = v + nothing + x  # noqa: F821
    return u, u, u >= c.theta


def fires_elsewhere(c, v, x):
    u = v + x
    return u, u, v >= c.theta


def number_for_a_condition(c, v, x):
    u = v + (1 if x else 0)
    return u, u, u >= c.theta


def spike_in_a_condition(c, v, x):
    u = v + x
    s = u >= c.theta
    v = 0 if s and x > 2 else u
    return v, u, s


def fires_at_another_constant(c, v, x):
    u = v + x
    s = u > c.level
    return u, u, s


def threshold_first(c, v, x):
    u = v + x
    return u, u, c.theta <= u


def fires_at_a_distance(c, v, x):
    u = v + x
    return u, u, u - c.theta >= 0


def fires_at_an_expression(c, v, x):
    u = v + x
    theta = 2 * c.level
    s = u >= theta
    return u, u, s


def condition_of_a_block(c, v, x):
    u = v + x
    high = u >= 2
    if x > 0:
        high = u >= 5
    u = u - 1 if high else u
    s = u >= c.theta
    return u, u, s


def spike_of_a_block(c, v, x):
    u = v + x
    if x > 0:
        s = u >= 5
    else:
        s = u >= c.theta
    return u, u, s


LEVEL = 3.0


def number_of_the_file_in_one_branch(c, v, x):
    if v > c.theta:
        LEVEL = 5.0
    u = v + x * LEVEL
    s = u >= c.theta
    return u, u, s


def one_result(c, v, x):
    return v + x


def other_parameters(c, w, x):
    return w, w, w >= c.theta


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (calls, r"step may have .*, got 'np.tanh\(v\)' in line 37 of test_step.py"),
        (
            loops,
            r"step must have assignments and if blocks, then one return, got 'for _ in .* line 42 of test_",
        ),
        (unknown, r"step must use its parameters, .*, got 'nothing' in line 48 of test_step.py"),
        (
            number_of_the_file_in_one_branch,
            r"step must use its parameters, .*, got 'LEVEL' in line \d+ of test_step.py",
        ),
        (fires_elsewhere, r"step must fire at 'u >= c.theta', .*, got 'v >= c.theta' in line 54 of test_step.py"),
        (number_for_a_condition, r"step must have a comparison as a condition, got 'x' in line \d+ of test_step.py"),
        (condition_of_a_block, r"step must have a comparison as a condition, got 'high' in line \d+ of test_step.py"),
        (spike_of_a_block, r"step must return a comparison as the spike, got 's' in line \d+ of test_step.py"),
        (spike_in_a_condition, r"step must use its spike s .*, got '.* s and x > 2.*' in line \d+ of test_step.py"),
        *(
            (step, r"step must fire at 'u >= c.theta', .*; with c.level let u = v - c.level \+ c.theta, got")
            for step in (fires_at_another_constant, threshold_first, fires_at_a_distance, fires_at_an_expression)
        ),
        (
            one_result,
            r"step must return v after the step, the potential, and the spike unless it reads out, got 1 results",
        ),
        (other_parameters, r"step must have the parameters \(c, v, x\), got \(c, w, x\)"),
        (abs, r"step must be a function in a file, got <built-in function abs>; its source is read"),
    ],
)
def test_what_a_step_may_not_have(step, message):
    with pytest.raises((TypeError, ValueError), match=f"^{message}") as raised:
        read_step("Mine", step, ("v",), ())
    assert "\n" not in str(raised.value)
    mine = type("Mine", (cs.StepNeuron,), {"states": ("v",), "step": step, "level": 0.5})
    with pytest.raises((TypeError, ValueError), match=f"^Mine: {message}"):
        mine()(np.zeros((2, 1, 1)))


NEURONS = [
    *(cs.LIF(reset=reset) for reset in ("zero", "subtract", None)),
    *(cs.neurons.ResonateAndFire(reset=reset) for reset in ("izhikevich", "zero", "subtract", None)),
    *(cs.CUBA(), cs.AdaptiveLIF()),
    *(cs.AdLIF(q=20.0), cs.neurons.BalancedResonateAndFire(1.0, dt=500.0), cs.neurons.NormalizedALIF()),
    *(Quadratic(), Compartments(), Offset(level=0.3), Resting()),
]


def test_constants_of_a_class_that_is_no_dataclass_are_refused():
    class Undecorated(cs.StepNeuron):
        tau: float = 20.0
        states, decays = ("v",), {"d": "tau"}
        step = Quadratic.step

    cure = "write @dataclass(frozen=True, eq=False, repr=False) above the class Undecorated"
    with refuses("Undecorated: constants must be fields of a dataclass", cure):
        Undecorated()
    with refuses("Undecorated: got an unexpected keyword argument 'tau'", cure):
        Undecorated(tau=3.0)


@pytest.mark.parametrize("neuron", NEURONS, ids=repr)
def test_the_derived_gradient_is_that_of_differences(neuron):
    for seed in range(3):
        assert cs.gradcheck(neuron, seed=seed) < 1e-6


class Dual:
    """A number and its derivative: forward-mode differentiation of plain Python, in which a condition is a constant."""

    def __init__(self, value, slope=0.0):
        self.value, self.slope = value, slope

    def __add__(self, other):
        other = dual(other)
        return Dual(self.value + other.value, self.slope + other.slope)

    def __mul__(self, other):
        other = dual(other)
        return Dual(self.value * other.value, self.value * other.slope + self.slope * other.value)

    def __pow__(self, exponent):
        return Dual(self.value**exponent, exponent * self.value ** (exponent - 1) * self.slope)

    def __neg__(self):
        return self * -1.0

    def __sub__(self, other):
        return self + -dual(other)

    def __rsub__(self, other):
        return -self + other

    def __abs__(self):
        return -self if self.value < 0 else self

    def __lt__(self, other):
        return self.value < dual(other).value

    def __ge__(self, other):
        return self.value >= dual(other).value

    def __gt__(self, other):
        return self.value > dual(other).value

    __radd__, __rmul__ = __add__, __mul__


def dual(value):
    return value if isinstance(value, Dual) else Dual(value)


@pytest.mark.parametrize("neuron", [each for each in NEURONS if not isinstance(each, Compartments)], ids=repr)
def test_the_detached_gradient_is_that_of_the_program_whose_conditions_are_constants(neuron):
    generator = np.random.default_rng(0)
    neuron = neuron.with_gradient("detached")
    x = generator.normal(0.6, 1.5, (40, 1, 1)) * neuron.theta / neuron.peak * 0.7
    g, direction = generator.standard_normal((2, 40))
    columns = [np.atleast_1d(np.asarray(column, np.float64)) for column in neuron.columns.values()]
    along = generator.standard_normal(len(columns))
    given = [cs.Tensor(each, requires_grad=True) for each in (x, *columns)]
    spikes = cs.functions.simulate(*given, spiking=neuron.spiking, trained=True)
    spikes.backward(g[:, None, None])
    found = float(sum((each.grad.ravel() * d).sum() for each, d in zip(given, (direction, *along), strict=True)))
    program = type(neuron).step
    duals = [Dual(float(column[0]), d) for column, d in zip(columns, along, strict=True)]
    states = [Dual(neuron.start.get(state, 0.0)) for state in neuron.states]
    expected, rho = 0.0, neuron.surrogate
    for t in range(40):
        *states, u, s = program(neuron, *duals, *states, Dual(float(x[t, 0, 0]), direction[t]))
        assert s == spikes.data[t, 0, 0]
        u = dual(u)
        expected += g[t] * neuron.dt * float(rho(np.array(u.value))) * u.slope
    assert 3 < spikes.data.sum() < 37
    assert found == pytest.approx(expected, rel=1e-9)


def test_a_constant_of_any_name_is_trained():
    """Its gradient is a sum over time, here against differences far from the threshold, where spikes carry u."""
    x = np.random.default_rng(0).normal(0.3, 1, (20, 2, 3))
    y = np.random.default_rng(1).normal(0.3, 1, (20, 2, 3))
    options = {"graded": True, "gradient": "exact", "tau_rho": 1e-4, "surrogate": "triangle"}

    def of_gain(gain):
        return Compartments(gain=gain, **options)(x, y)

    assert cs.gradcheck(of_gain, np.array([0.7, 0.8, 0.9]), step=1e-6) < 1e-6
    assert cs.gradcheck(lambda x, y: Compartments(**options)(x, y), x, y, step=1e-6) < 1e-6
    neuron = Compartments(gain=Bounded(0.7, least=0.0))
    neuron(x, y).backward(np.ones(x.shape))
    assert neuron.gain.grad != 0
    with refuses("Compartments: y must be as x, (20, 2, 3), float64"):
        neuron(x, y[..., :1])


def test_a_backward_of_its_own_takes_the_place_of_the_derived_one():
    own, plain = OwnBackward(gradient="exact"), cs.LIF(gradient="exact")
    assert cs.gradcheck(own) < 1e-12
    assert cs.gradcheck(OwnBackward(gradient="exact", factor=2.0)) > 0.1
    x = np.random.default_rng(0).normal(0.2, 0.5, (40, 2, 30))

    def gradients(neuron):
        cs.seed(0)
        net = cs.Sequential(cs.Dense(30, 20), neuron, cs.Dense(20, 20), cs.Recurrent(cs.Dense(20, 20), neuron))
        net(x).backward(np.random.default_rng(1).normal(size=(40, 2, 20)))
        return [p.grad for p in net.parameters()]

    expected = gradients(plain)
    found = [gradients(own)]
    with emulation():
        found.append([np.asarray(each) for each in gradients(own)])
    for each in found:
        for one, other in zip(each, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * np.abs(other).max())
    with refuses("OwnBackward: trained constants need the gradient of the step"):
        OwnBackward(trained=True)(x)
    wrong = type("Mine", (OwnBackward,), {"backward": OwnBackward.step})
    with refuses("Mine: backward must have the parameters (c, d, v, u, rho, g)"):
        wrong()(x)
    short = type("Mine", (cs.StepNeuron,), {"states": ("v",), "step": lambda c, v, x: (v, v, v >= c.theta)})
    with refuses("Mine: step must be a function of its own, made by def"):
        short()(x)


def test_a_step_uses_inputs_and_spikes_of_some_steps_ago():
    x = np.random.default_rng(0).normal(0.3, 0.6, (70, 2, 3))
    for near, far, dt in ((3, 20, 1.0), (0, 1, 0.5), (69, 70, 1.0)):
        echo, delayed = Echo(near=near, far=far, dt=dt), Delayed(lag=near, dt=dt)
        v, y, share = np.zeros((2, 3)), np.zeros((2, 3)), np.exp(-dt / 8.0)
        spikes, outputs = np.zeros(x.shape), np.zeros(x.shape)
        for t, now in enumerate(x):
            earlier = [values[t - lag] if 0 < lag <= t else 0.0 for values, lag in ((x, near), (x, far), (spikes, far))]
            u = share * v + now + 0.5 * earlier[0] - 0.3 * earlier[1] - 0.2 * earlier[2]
            spikes[t] = u >= 1.0
            v = np.where(spikes[t], 0.0, u)
            y = outputs[t] = share * y + now - 0.5 * earlier[0]
        np.testing.assert_array_equal(echo(x).data, spikes)
        np.testing.assert_array_equal(delayed(x).data, outputs)
        assert cs.gradcheck(Echo(near=near, far=far, gradient="exact")) < 1e-8
        assert cs.gradcheck(Delayed(lag=near)) < 1e-8
    given = cs.Tensor(x, requires_grad=True)
    delayed(given)[40].sum().backward()
    expected = share ** np.arange(40, -1, -1)
    np.testing.assert_allclose(given.grad[:41, 0, 0], expected, rtol=1e-12)
    assert not given.grad[41:].any()


def a_value_it_assigns(c, v, x):
    u = v + ago("w", c.lag) + x
    w = 2 * u
    return w, u, u >= c.theta


def a_number_of_steps_in_arithmetic(c, v, x):
    u = c.lag * v + ago(x, c.lag)
    return u, u, u >= c.theta


def test_what_ago_may_not_have():
    with pytest.raises(
        TypeError, match=r"^step may use an input, or the spike that it returns, of some steps ago, got"
    ):
        read_step("Mine", a_value_it_assigns, ("v",), ())
    with pytest.raises(TypeError, match=r"^step must use c\.lag only as a number of steps, got"):
        read_step("Mine", a_number_of_steps_in_arithmetic, ("v",), ())
    with refuses("Echo: near must be an integer"):
        Echo(near=1.5)(np.ones((3, 1, 2)))
    with pytest.raises(TypeError, match=r"^ago runs in compiled steps only"):
        ago(1.0, 2)
    fading = read_step("Mine", Offset.step, ("v", "fired"), ("d",), fading={"v": "level"})
    with pytest.raises(ValueError, match=r"^level must be one number for all neurons, since the state v fades by it"):
        fading.with_columns(["level"])
    with pytest.raises(ValueError, match=r"^backward_exact must come with backward, got no backward"):
        read_step("Mine", Offset.step, ("v", "fired"), ("d",), backward_exact=Offset.step)


def test_its_functions_run_as_plain_python():
    assert (flushed(1e-300), flushed(-2.0)) == (0.0, -2.0)
    v, u, s = Quadratic.step(Quadratic(theta=1.0), 0.5, 0.4, 1.0)
    assert (u, s, v) == (pytest.approx(1.216), True, -0.5)
    for other in (cs.Loihi(), cs.neurons.SigmaDelta()):
        with refuses("gradcheck: fn must be a neuron whose gradient is derived"):
            cs.gradcheck(other)
    assert re.match(r"Quadratic\(tau=20, theta=1\)$", repr(Quadratic()))
    gain = Bounded(np.full(3, 0.1))
    assert cs.Sequential(cs.Dense(2, 3), Compartments(gain=gain)).parameters()[1] is gain
    assert "gain=array (3,)" in repr(Compartments(gain=gain))


def sums(names, factors=("2.0", "0.5", "0.0")):
    """Return a strategy for sums of names and of their products with factors, as text."""
    name, factor = st.sampled_from([*names]), st.sampled_from([*factors])
    products = st.builds(str.format, st.sampled_from(["{} * {}", "-{} * {}"]), factor, name)
    reversed_products = st.builds(str.format, st.sampled_from(["{} * {}", "-{} * {}"]), name, factor)
    operations = st.sampled_from(["({} + {})", "({} - {})", "-({} - {})"])
    terms = st.one_of(name, factor, products, reversed_products)
    return st.recursive(terms, lambda inner: st.builds(str.format, operations, inner, inner), max_leaves=4)


@given(*(sums("abu", ["a", "b", "u", "2.0", "0.0"]) for _ in range(2)))
def test_the_difference_of_two_sums(one, other):
    values = {"a": 0.75, "b": -1.25, "u": 3.5}
    found = difference(*(ast.parse(each, mode="eval").body for each in (one, other)))
    result = eval(compile(ast.fix_missing_locations(ast.Expression(found)), "", "eval"), {}, values)
    assert result == pytest.approx(eval(one, {}, values) - eval(other, {}, values), abs=1e-12)


PROGRAM = """
from dataclasses import dataclass
import cuslayer as cs

@dataclass(frozen=True, eq=False, repr=False)
class Drawn(cs.StepNeuron):
    tau: float = 5.0
    k: float = 0.3
    gradient: str = "exact"
    states, decays = ("v", "w"), {{"d": "tau"}}

    def step(c, d, v, w, x):
        w = 0.3 * d * w + 0.2 * ({} if w > {} else {})
        u = 0.5 * d * v + x - 0.1 * w
        s = u >= c.theta
        v = {} if s else {}
        w = w + 0.2 * ({} if s else {})
        return v, w, u, s
"""


@settings(max_examples=40)
@given(
    st.tuples(
        *(sums("vwx"), st.sampled_from(["x", "0.2", "-v"]), sums("vwx")),
        *(sums("uwx", ["c.k", "-0.5"]) for _ in range(4)),
    )
)
def test_the_derived_gradient_of_drawn_steps(tmp_path_factory, parts):
    """Branches with any signs of states, potential and constants."""
    file = tmp_path_factory.mktemp("steps") / "drawn.py"
    file.write_text(PROGRAM.format(*parts), "utf-8")
    neuron = runpy.run_path(str(file))["Drawn"]()
    assert cs.gradcheck(neuron) < 1e-4  # a step of differences may cross one of its conditions


def resets(c, d, v, x):
    u = d * v + x
    s = u >= c.theta
    v = u * (c.share if s else 0.5) - (u if s else 0.25 * u)
    v = c.share if s else 2 * v
    return v, u, s


def never_resets(c, d, v, x):
    u = d * v + x
    s = u >= c.theta
    v = u * 0.5 - 0.25 * u
    v = 2 * v
    return v, u, s


def test_the_published_gradient_is_that_of_the_branches_without_a_spike():
    kinds = (read_step("Mine", step, ("v",), ("d",)) for step in (resets, never_resets))
    one, other = (adjoint(kind, exact=False, trained=True) for kind in kinds)
    for mine, wanted in ((one.states, other.states), (one.inputs, other.inputs), (one.columns, other.columns)):
        assert [*map(ast.unparse, mine)] == [*map(ast.unparse, wanted)]
    assert [(name, ast.unparse(value)) for name, value in one.body] == [
        (name, ast.unparse(value)) for name, value in other.body
    ]


def test_ties_share_the_gradient_as_operations_of_arrays_do():
    """`max` and `min` of equal numbers 0.5 each, `abs` at 0 none; the same on both devices."""
    grid = np.array([-1.0, -0.0, 0.0, 0.5, 1.0], np.float32)
    x, y = (each.reshape(1, 1, -1).copy() for each in np.meshgrid(grid, grid))
    one, other = leaves = [cs.Tensor(each, requires_grad=True) for each in (x, y)]
    kinks = cs.maximum(one, other) - 2 * cs.minimum(one, other) + 4 * cs.abs(one)
    kinks = kinks + 8 * cs.maximum(0, one) + 16 * cs.maximum(one, 0) + 32 * cs.minimum(0, other)
    neuron = Ties()
    kinks.backward(neuron.surrogate(kinks.data))
    for emulated in (False, True):
        given = [cs.Tensor(each, requires_grad=True) for each in (x, y)]
        with emulation() if emulated else np.errstate():
            neuron(*given).backward(np.ones_like(x))
            gradients = [np.asarray(each.grad) for each in given]
        for gradient, leaf in zip(gradients, leaves, strict=True):
            np.testing.assert_allclose(gradient, leaf.grad, rtol=1e-5)


def test_any_name_is_a_name():
    """Words of C++ and of the printed loops: the same bits as with plain names, alone, after a layer and recurrent."""
    x = np.random.default_rng(0).normal(0.3, 1, (30, 2, 6)).astype(np.float32)
    found = []
    for emulated in (False, True):
        for kind, gain, share in ((PlainNames, "gain", "share"), (Names, "STATES", "constexpr")):
            constants = {"tau": np.full(6, 9.0), gain: np.full(6, 0.8), share: np.full(6, 0.6)}
            neuron = kind(gradient="exact", **constants)
            cs.seed(0)
            leaf = cs.Tensor(x, requires_grad=True)
            layers = [cs.Dense(6, 6, weight_scale=2.0) for _ in range(3)]
            net = cs.Sequential(neuron, layers[0], neuron, layers[1], cs.Recurrent(layers[2], neuron))
            with emulation() if emulated else np.errstate():
                out = net(leaf)
                out.backward(np.ones(out.shape, np.float32))
                found.append([np.asarray(each) for each in (out.data, leaf.grad, *(p.grad for p in net.parameters()))])
    assert found[0][0].any()
    for each in found[1:]:
        for one, wanted in zip(each, found[0], strict=True):
            np.testing.assert_allclose(one, wanted, rtol=0, atol=1e-5 * abs(wanted).max())


@pytest.mark.parametrize("stage", ["alone", "after a layer", "recurrent"])
@pytest.mark.parametrize("trained", [False, True])
def test_each_neuron_has_a_threshold_of_its_own(stage, trained):
    """Potential, surrogate, spikes and explanation have one threshold, at which this step does not fire."""
    cs.seed(0)
    level = np.array([0.25, 0.5, 1.0, 2.0], np.float32)
    neuron = Offset(tau=6.0, scale_rho=1.0, level=Bounded(level, least=0.0) if trained else level)
    layer = cs.Dense(4, 4, weight_scale=4.0)
    own = cs.Recurrent(cs.Dense(4, 4), neuron) if stage == "recurrent" else neuron
    net = cs.Sequential(own) if stage == "alone" else cs.Sequential(layer, own)
    x, seen = np.random.default_rng(0).random((60, 3, 4)).astype(np.float32) * 4, []
    with cs.record(net) as record, on_potential(lambda u: seen.append(u.values)):
        out = net(x)
    u = record[len(net.layers) - 1].potential.values
    assert 0 < out.data.mean() < 1
    np.testing.assert_array_equal(out.data, neuron.fires(u))
    np.testing.assert_allclose(record[len(net.layers) - 1].surrogate.values, neuron.surrogate(u))
    assert not neuron.fires(np.float32([neuron.theta])).any()
    leaf = cs.Tensor(x[:1], requires_grad=True)
    out = neuron(leaf)
    out.backward(np.ones((1, 3, 4), np.float32))
    at = (1 - np.exp(-1 / 6)) * x[:1] - level + 1
    np.testing.assert_allclose(leaf.grad, (1 - np.exp(-1 / 6)) * neuron.surrogate(at), rtol=1e-4)
    if trained:
        np.testing.assert_allclose(neuron.level.grad, -neuron.surrogate(at).sum(axis=(0, 1)), rtol=1e-4)
