"""Neurons that are written as a step: their constants, the state between calls, and the operation that runs them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache, cached_property, lru_cache, partial
from inspect import get_annotations
from itertools import islice
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar, cast

import numpy as np

from cuslayer import kernels
from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._parameter import Bounded
from cuslayer._tape import (
    Gradient,
    Pullback,
    Tensor,
    as_tensor,
    differentiable,
    grad_enabled,
    save_for_backward,
    to_shape,
)
from cuslayer.backend import Array, generator, namespace, to_numpy
from cuslayer.kernels.constants import side_by_side
from cuslayer.kernels.spikes.packed import PackedSpikes
from cuslayer.kernels.step.derive import StepSpiking
from cuslayer.kernels.step.kind import Kind, read_step
from cuslayer.kernels.step.smooth import silent_potentials, small_response
from cuslayer.kernels.step.spike_times import constants_of, timed
from cuslayer.neurons.base import (
    GRADIENTS,
    SURROGATE,
    USUAL_GRADIENT,
    USUAL_SCALE,
    USUAL_STEP,
    USUAL_WIDTH,
    Neuron,
    OnePass,
    StepByStep,
    UsualText,
    is_usual,
    scaled_surrogate,
    set_checked,
    shape_of,
    usual_or_constant,
    usual_or_step,
)
from cuslayer.neurons.held import is_explained
from cuslayer.neurons.integrated import PotentialParts, parts_of_step
from cuslayer.neurons.states import PopulationStates, States
from cuslayer.surrogates import EXPONENTIAL

D = TypeVar("D", bound="StepNeuron")

# The names of the common constants in files.
NAMED = {
    **{"tauRho": "tau_rho", "scaleRho": "scale_rho", "gradient": "gradient", "trained": "trained"},
    **{"bounds": "bounds", "graded": "graded", **SURROGATE},
}
# The bounds of trained time constants, in steps.
_LEAST, _MOST = 0.25, 1e4
_DECORATE = "write @dataclass(frozen=True, eq=False, repr=False) above the class"
# Responses are cut below this fraction of their peak.
_CUT = 0.01
# The number of steps without input after which a neuron is at rest.
_RESTED = 1000
# The maximum length of a response that does not fall.
LONGEST = 1 << 16


def of_constants(g: Array, keep: Array, x_shape: tuple[int, ...]) -> Array:
    """Return the gradient of constants that `per_column` has spread, from the columns' gradients (columns,)."""
    found = to_shape(g.reshape(x_shape[1:]).sum(axis=0), keep.shape)
    return namespace(g).asarray(found, keep.dtype)


def time_constant(
    name: str, given: object, trained: bool, bounds: Callable[[], tuple[float, float]], may_be_zero: bool = False
) -> Any:
    """Return a time constant as a number, a read-only array or, if it is trained, a parameter with bounds."""
    values = np.asarray(to_numpy(given.data if isinstance(given, Tensor) else given))
    if values.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be a number or an array of numbers, got {values.dtype}")
    right = np.isfinite(values) & (values >= 0 if may_be_zero else values > 0)
    if not right.all():
        rule = "at least 0" if may_be_zero else "positive"
        raise ValueError(f"{name} must be {rule} and finite, got {values[~right].flat[0]:g}")
    for extreme in (values.min(initial=1.0), values.max(initial=1.0)):
        if may_be_zero:
            check.factor(name, extreme)
        # A long time constant without a gradient acts only through its decay factor, which is 1.
        elif extreme < 1 or trained or isinstance(given, Tensor):
            check.constant(name, extreme)
    if isinstance(given, Tensor) and (isinstance(given, Bounded) or not trained):
        return given
    if trained:
        least, most = bounds()
        return Bounded(values.astype(np.float32), least=least, most=most)
    if values.ndim == 0:
        return float(values)
    values = values.astype(np.float64)
    values.setflags(write=False)
    return values


def bounds_in_ms(given: object, dt: float) -> tuple[float, float]:
    """Return the bounds of trained time constants, by default a quarter of a step and 10,000 steps."""
    if given is None:
        return _LEAST * dt, _MOST * dt
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise TypeError(f"bounds must be least and most, got {given!r}")
    return check.constant("bounds", given[0]), check.constant("bounds", given[1])


def check_within(name: str, values: Array, least: float, most: float, where: str) -> None:
    """Raise ValueError unless constants, rounded to float32, lie within bounds."""
    wrong = values[~((np.float32(values) >= np.float32(least)) & (np.float32(values) <= np.float32(most)))]
    if wrong.size:
        raise ValueError(f"{name} must be from {least:g} to {most:g} {where}, got {wrong.flat[0]:g}")


def kept_share(tau: object, dt: float) -> Any:
    """Return the decay factor of a state, ``exp(-dt / tau)``: an array, or a tensor if tau is one."""
    return (-dt / tau).exp() if isinstance(tau, Tensor) else np.exp(-dt / np.asarray(tau))


def _data(value: object) -> Any:
    return value.data if isinstance(value, Tensor) else value


def _as_number(name: str, value: object) -> float:
    """Return a constant of a step as a number; a flag is 1 or 0."""
    return float(value) if isinstance(value, bool) else float(check.number(name, value))


def _is_trained(value: object) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


@cache
def _kind(cls: type[StepNeuron]) -> Kind:
    if cls.step is None:
        raise TypeError("neurons with states must define step")
    if not cls.states:
        raise ValueError("states must have at least one name, got none")
    columns = tuple(cls.decays) if cls.step_columns is None else cls.step_columns
    return read_step(
        cls.__name__,
        cls.step,
        cls.states,
        columns,
        unfired=cls.as_if_unfired,
        backward=cls.backward,
        backward_exact=cls.backward_exact,
        fading=cls.fading,
        start=cls.start,
    )


def simulate_by_step(x: object, by_step: StepByStep, states: PopulationStates) -> Tensor:
    """Return the output of neurons after earlier calls."""
    columns = tuple(by_step.keeps.values())
    return with_columns(simulate, x, columns=columns, spiking=by_step.spiking, states=states)


def with_columns(
    operation: Callable[..., Tensor], *arrays: object, columns: tuple[object, ...], **options: object
) -> Tensor:
    """Return the result of an operation for constants of each neuron, host arrays or tensors."""
    if not any(isinstance(column, Tensor) for column in columns):
        return operation(*arrays, fixed=columns, **options)
    return operation(*arrays, *columns, trained=any(map(_is_trained, columns)), **options)


@differentiable
def simulate(
    x: Array,
    /,
    *given: Array,
    spiking: StepSpiking,
    fixed: Sequence[Array] = (),
    states: States | PopulationStates | None = None,
    trained: bool = False,
    repeats: int = 0,
) -> tuple[Array, Pullback]:
    """Return the spikes of neurons that are written as a step, for the weighted input x.

    Backward is the adjoint of the step, with ``dt rho(u)`` for the derivative of a spike; see `StepNeuron`. It saves
    the potential u and the other states that the adjoint needs.

    Args:
        x: (T, N, ...), the weighted input, float32 or float64.
        given: further inputs of the step, of x's shape, then the constants that may differ between neurons, such as
            decays; they broadcast to the neurons.
        spiking: `StepNeuron.spiking`.
        fixed: these constants as host arrays instead; they have no gradients.
        states: the states between calls; None to begin with the states' start.
        trained: whether these constants have gradients.
        repeats: the number of steps that all have the input x (1, N, ...); 0 if x has a row for each step.

    Returns:
        Spikes of x's shape: boolean, or numbers if they carry the potential, with 0 for no spike.

    Raises:
        ValueError: x is not (T, N, ...), or constants do not broadcast to its neurons.
        TypeError: x is not floating.

    >>> from cuslayer.neurons.lif import LIF
    >>> neuron = LIF(tau=10.0)
    >>> simulate(np.full((5, 1, 1), 0.75), np.full(1, 0.5), spiking=neuron.spiking).data.ravel().tolist()
    [False, True, False, True, False]
    """
    kind = spiking.kind
    check.weighted_input("x", x)
    if repeats:
        x = namespace(x).broadcast_to(x, (repeats, *x.shape[1:]))
    more, own = given[: len(kind.inputs) - 1], given[len(kind.inputs) - 1 :]
    for name, each in zip(kind.inputs[1:], more, strict=True):
        if each.shape != x.shape or each.dtype != x.dtype:
            raise ValueError(f"{name} must be as x, {x.shape}, {x.dtype}, got {each.shape}, {each.dtype}")
    k, inputs = kernels.of(x), namespace(x).stack([x, *more]) if more else x[None]
    constants = side_by_side(spiking.labels or kind.columns, own or fixed, x, x.shape[2:])
    if isinstance(states, PopulationStates):
        if more:
            raise ValueError("neurons whose step uses ago keep states for one input, got a second")
        out, back = _after(x, constants, spiking, states, trained)
        shape = x.shape
        return out, lambda g: _with_constants(*back(g), own, shape, trained)
    if states is None and any(kind.start):
        states = States()
    held = None if states is None else states.begin(x, kind.start)
    before = None if held is None else held.copy()
    u, s, kept = k.scan.forward(inputs, constants, spiking, held, spiking.saved(trained) if grad_enabled() else ())
    out = namespace(x).where(s, u, u.dtype.type(0)) if spiking.graded else s if kind.fires else u
    potential = save_for_backward(k, u) if kind.fires else lambda: u
    dtype, shape = x.dtype, x.shape  # not x: the closure must not keep it alive

    def pullback(g: Array) -> tuple[Gradient, ...]:
        g = g.astype(dtype, copy=False)
        later = None if states is None else states.end(g, len(kind.states))
        back = partial(k.scan.adjoint, overwrite=kind.fires, still=bool(repeats))
        y, sums = back(g, potential(), kept, constants, spiking, before, trained, later)
        return _with_constants(y, sums, own, shape, trained)

    return out, pullback


def _with_constants(
    of_inputs: Sequence[Array], sums: Array, own: Sequence[Array], shape: tuple[int, ...], trained: bool
) -> tuple[Gradient, ...]:
    """Return the gradients of the inputs, and of the constants, from their sums by column."""
    if not trained:
        return *of_inputs, *(None for _ in own)
    return *of_inputs, *(of_constants(total, constant, shape) for total, constant in zip(sums, own, strict=True))


def _after(
    x: Array, constants: Array, spiking: StepSpiking, states: PopulationStates, trained: bool
) -> tuple[Array, Callable[[Array], tuple[Sequence[Array], Array]]]:
    """Return the spikes after earlier calls, whose inputs and spikes the step uses: a population without synapses."""
    k = kernels.of(x)
    held = states.begin(x, spiking, 0)
    before = {"states": held.states.copy(), "start": held.steps}
    arguments = namespace(x).empty((0, math.prod(x.shape[2:])), x.dtype), spiking, constants, 1
    saves = spiking.saved(trained) if grad_enabled() else ()
    u, s, kept = k.recurrent.forward(x, *arguments, before=held, saves=saves)
    potential = save_for_backward(k, u)
    dtype = x.dtype

    def pullback(g: Array) -> tuple[Sequence[Array], Array]:
        g = g.astype(dtype, copy=False)
        later = states.end(k, g, spiking, 0)
        errors, sums = k.recurrent.adjoint(g, potential(), kept, *arguments, trained=trained, **before, later=later)
        return (errors[: len(g)],), sums

    if not spiking.kind.fires:
        return u, pullback
    if spiking.graded:
        return namespace(x).where(s.unpack() if isinstance(s, PackedSpikes) else s, u, dtype.type(0)), pullback
    # Packed images have a line for each row.
    return s.unpack() if isinstance(s, PackedSpikes) and x.ndim == 5 else s, pullback


def _constants_without_fields(kind: type) -> list[str]:
    """Return the annotated constants of a class that `dataclass` has not completed."""
    if "__dataclass_fields__" in vars(kind):
        return []
    return [name for name, annotation in get_annotations(kind).items() if "ClassVar" not in str(annotation)]


@check.constructed
@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class StepNeuron(Neuron):
    """A neuron that is written as one step of one neuron, in plain arithmetic; base class of dataclasses.

    The loops for the CPU and for CUDA, and the gradient, come from the step. A subclass has constants, the names of its
    states, and ``step(c, *decays, *states, x)`` with c the neuron. The step returns the states after it, the potential
    u before a spike changes it, and whether the neuron fires: ``u >= c.theta``, ``u > c.theta``, or the same of
    ``abs(u)``. A threshold of each neuron is subtracted from the potential: ``u = v - c.level + c.theta``. Without a
    spike, the potential is the output: a read-out, also as ``ReadOut(neuron=)``.

    A step has assignments, ``if`` blocks of assignments, of which both branches are computed, and a return. They may
    contain ``+ - * /``, ``**`` with a whole number, comparisons, ``a if s else b``, ``and``, ``or``, ``not``, numbers,
    `abs`, `min`, `max`, and ``exp``, ``rint``, ``trunc`` and ``flushed`` of `cuslayer.neurons.step`. The step must be
    in a file, because its source is read. Each step flushes the states that decay.

    ``ago(x, c.lag)`` of `cuslayer.neurons.step` is the input of some steps ago, and ``ago("s", c.lag)`` the spike s
    that the step returns. A constant ``c.name`` is a number, or an array that broadcasts to the layer's neurons; a
    tensor, such as a `Bounded`, is trained. A second input follows x, and is the second argument of a call.

    Args:
        theta: the threshold.
        tau_rho: width of the surrogate, in thresholds; by default 1, in a `Recurrent` see there.
        scale_rho: scale of the surrogate; by default 1, in a `Recurrent` see there.
        dt: the step, ms.
        gradient: "slayer", which drops the effect of a spike on later steps; "detached", which takes the spikes in the
            step as constants; or "exact", the whole derivative. By default "slayer", in a `Recurrent` "exact". Or
            "eventprop", the derivative of the spike times, without a surrogate: for small steps, in which potentials
            pass the threshold with a slope.
        surrogate: the shape f of the surrogate, one of `cs.surrogates` or its name; by default ``exp(-|z|)``.
        trained: whether time constants are trained.
        bounds: minimum and maximum of trained time constants, ms; by default a quarter of a step and 10,000 steps.
        graded: whether a spike carries u instead of 1.
        stateful: whether a call continues from the state after the last call, until `forget`.

    Attributes:
        states: the names of the states.
        start: the states before the first step that are not 0, by name: ``start = {"v": -65.0}``. Then the neurons do
            not run in one pass with the layer before them, which takes longer.
        decays: for each decay in the step's parameters, ``exp(-dt / tau)``, the name of its time constant.
        backward: None, or ``backward(c, *decays, *states, u, rho, g)`` in place of the derived gradient. It takes the
            gradients of the states after the step, the potential, the surrogate ``dt rho(u)`` and the gradient of the
            spike; further parameters are values that the step has assigned. It returns the gradients of the states
            before the step, and of x.
        backward_exact: the same for ``gradient="exact"``; by default `backward`, which "slayer" and "detached" take.
        fading: states that become 0 where they are small, before each eighth step, each with the constant by which the
            step multiplies it; see `flushed` for a check at every step.
        held: the states of stateful neurons between calls, else None. ``held.values``, (states, neurons of all
            samples), may be set before a call; it is None before the first.
        as_if_unfired: the terms that ``gradient="slayer"`` drops: True for all that follow from the spike; False for
            only the derivative by the spike, as "detached" does.

    Raises:
        ValueError: a constant is out of its range, the step has wrong parameters or results, or gradient or surrogate
            is unknown.
        TypeError: a constant has the wrong type, a step has more than plain arithmetic, or the class is no dataclass.

    >>> from cuslayer.neurons.lif import LIF
    >>> issubclass(LIF, StepNeuron), LIF.states, LIF.decays
    (True, ('v',), {'d': 'tau'})
    """

    theta: float = 1.0
    tau_rho: float = USUAL_WIDTH
    scale_rho: float = USUAL_SCALE
    dt: float = USUAL_STEP
    gradient: str = USUAL_GRADIENT
    surrogate: Any = EXPONENTIAL
    trained: bool = False
    bounds: Any = None
    graded: bool = False
    stateful: bool = False

    weight_scale: ClassVar[float | None] = 2.0
    states: ClassVar[tuple[str, ...]] = ()
    decays: ClassVar[Mapping[str, str]] = MappingProxyType({})
    as_if_unfired: ClassVar[bool] = True
    step: ClassVar[Callable[..., Any] | None] = None
    backward: ClassVar[Callable[..., Any] | None] = None
    backward_exact: ClassVar[Callable[..., Any] | None] = None
    fading: ClassVar[Mapping[str, str]] = MappingProxyType({})
    start: ClassVar[Mapping[str, float]] = MappingProxyType({})
    _machinery = """
        as_if_unfired backward backward_exact bounds_of column columns cure decaying decays fading factors keep_of kind
        may_be_zero mean_keep mean_of operate spiking start step step_columns time_constants value_of
    """
    # The step's parameters that are constants of the neurons; by default the decays.
    step_columns: ClassVar[tuple[str, ...] | None] = None
    # The names of the attributes that are time constants, or are checked like them.
    time_constants: ClassVar[tuple[str, ...]] = ()
    # The time constants that may be 0.
    may_be_zero: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        if "decays" in vars(cls) and "time_constants" not in vars(cls):
            cls.time_constants = tuple(dict.fromkeys(cls.decays.values()))

    @classmethod
    def cure(cls, name: str, _options: Mapping[str, Any]) -> str:
        """Return what to write in place of an argument that the neurons do not have; '' if nothing is known."""
        return f"{_DECORATE} {cls.__name__}" if name in _constants_without_fields(cls) else ""

    def __post_init__(self) -> None:
        constants = _constants_without_fields(type(self))
        if constants:
            what = f"constants must be fields of a dataclass, got {', '.join(constants)}"
            raise TypeError(f"{what}; {_DECORATE} {type(self).__name__}")
        check.one_of("gradient", self.gradient, GRADIENTS)
        if self.gradient == "eventprop" and self.graded is not False:
            raise ValueError("graded must be False with gradient='eventprop', which moves spikes of size 1, got True")
        set_checked(self, theta=check.constant, dt=usual_or_step)
        set_checked(self, tau_rho=usual_or_constant, scale_rho=usual_or_constant)
        set_checked(self, trained=check.flag, graded=check.flag, stateful=check.flag)
        bounds_in_ms(self.bounds, self.dt)
        for name in self.time_constants:
            options = self.trained, partial(self.bounds_of, name), name in self.may_be_zero
            object.__setattr__(self, name, time_constant(name, getattr(self, name), *options))
        scaled_surrogate(self, self.scale_rho / self.width)
        object.__setattr__(self, "held", self._new_states() if self.stateful else None)

    def _new_states(self) -> States | PopulationStates:
        """Return the states before the first step; a step that uses others needs more of them than states."""
        kind = self.spiking.kind
        return PopulationStates() if kind.past or kind.fading or kind.crossing else States()

    @check.operation
    def spread(self, count: int, **ranges: tuple[float, float]) -> Neuron:
        """Return these neurons with uniformly drawn constants, one for each neuron or channel.

        Args:
            count: the number of neurons or channels.
            ranges: the minimum and maximum of each constant to draw, by its name.

        Raises:
            ValueError: a constant is unknown, a range descends or leaves the bounds, or a drawn value is out of range.

        >>> from cuslayer.neurons.lif import LIF
        >>> LIF().spread(5, tau=(10, 30)).tau.shape
        (5,)
        """
        count, drawn = check.integer("count", count, least=1), dict[str, Array]()
        for name, (least, most) in ranges.items():
            check.one_of("a constant", name, self.time_constants)
            if not check.number(name, least) <= check.number(name, most):
                raise ValueError(f"{name} must ascend, got {least:g} to {most:g}")
            if self.trained:
                check_within(name, np.array([least, most]), *self.bounds_of(name), "where it is trained")
            drawn[name] = generator().uniform(least, most, count)
        return replace(self, **drawn)  # type: ignore[arg-type]

    def bounds_of(self, name: str) -> tuple[float, float]:
        """Return the minimum and maximum of a trained constant."""
        return bounds_in_ms(self.bounds, self.dt)

    def with_step(self, dt: float) -> Neuron:
        if self.dt == dt or not is_usual(self, "dt"):
            return self
        trained = {name: getattr(self, name) for name in self.time_constants if self.trained}
        # Default bounds follow from the step: these parameters are made again.
        values = {n: to_numpy(p.data) for n, p in trained.items() if (p.least, p.most) == self.bounds_of(n)}
        return replace(self, dt=dt, **values)  # type: ignore[arg-type]

    @property
    def parts(self) -> str:
        if self.stateful:
            return "partial"
        if self.starts_at_zero and self._has_own_parts:
            return "stepwise"
        return "partial" if self.as_step is None or not is_explained(self.kind()) else "integrated"

    @property
    def _has_own_parts(self) -> bool:
        """Whether `parts_at` is of this step: no subclass has another step."""
        kinds = type(self).__mro__
        at = next(at for at, kind in enumerate(kinds) if "parts_at" in vars(kind))
        return kinds[at] is not Neuron and sum("step" in vars(kind) for kind in kinds[: at + 1]) <= 1

    def parts_of(
        self, x: Array, spikes: Array, weights: Array, index: tuple[int, ...], shape: tuple[int, ...]
    ) -> PotentialParts:
        if self.parts != "integrated":
            return super().parts_of(x, spikes, weights, index, shape)
        step = cast(StepByStep, self.as_step)
        constants = step.spiking.by_name | {name: to_numpy(_data(value)) for name, value in step.keeps.items()}
        # The step has them in the input's type.
        own = {name: np.broadcast_to(value, shape)[index].astype(x.dtype) for name, value in constants.items()}
        return parts_of_step(step.spiking.kind, own, x, spikes, weights)

    @property
    def starts_at_zero(self) -> bool:
        return not any(self.start.values())

    @property
    def response(self) -> Array:
        """The change of the potential by a small input, per input, (K,) float64, for the mean constants."""
        return _response(self.spiking.kind, self._means())

    @property
    def peak(self) -> float:
        response = self.response
        # An inhibiting response keeps its sign in `psp`.
        return float(response.max(initial=0.0) or abs(response).max(initial=0.0) or 1.0)

    @property
    def gap(self) -> float:
        return _gap(self.spiking.kind, self._means(), self.theta)

    def _means(self) -> tuple[tuple[str, float], ...]:
        """Return the constants of the step by name, their means over the neurons."""
        numbers = {name: float(np.mean(to_numpy(_data(value)))) for name, value in self.columns.items()}
        return tuple((numbers | self.spiking.by_name).items())

    @property
    def pool_gain(self) -> float:
        """The weight of a pooling layer before these neurons: one spike raises the potential by 1.1 times `gap`."""
        return 1.1 * (self.gap if self.gap > 0 else self.theta) / self.peak

    def _constants(self) -> dict[str, Any]:
        """Return the constants that all kernels take, by the names of `DynamicSpiking`."""
        height = self.dt * self.scale_rho / self.width
        surrogate = {"width": self.width, "height": height, "shape": shape_of(self)}
        return {"theta": self.theta, "exact": self.gradient == "exact", "graded": self.graded, **surrogate}

    def fires(self, u: Array) -> Array:
        """Return where potentials u reach the threshold as the step compares them, in u's dtype."""
        theta = u.dtype.type(self.theta)
        if self.step is None:
            return u >= theta
        size = abs(u) if self.kind().two_sided else u
        return size > theta if self.kind().strict else size >= theta

    def parameters(self) -> list[Tensor]:
        """Return the trained constants, time constants first."""
        names = dict.fromkeys((*self.time_constants, *(each.name for each in fields(self))))
        return [value for name in names if _is_trained(value := getattr(self, name))]

    def keep(self, name: str) -> Tensor | Array:
        """Return the decay factor of a state, ``exp(-dt / tau)``: an array, or a tensor if tau is one."""
        return kept_share(getattr(self, name), self.dt)

    def value_of(self, name: str, index: tuple[int, ...], shape: tuple[int, ...]) -> float:
        """Return a constant of one neuron of a layer of a shape."""
        return float(np.broadcast_to(self._values(name), shape)[index])

    def mean_of(self, name: str) -> float:
        """Return the mean of a constant over the neurons."""
        return float(self._values(name).mean())

    def keep_of(self, name: str, index: tuple[int, ...], shape: tuple[int, ...]) -> float:
        """Return the decay factor of a state, for one neuron of a layer of a shape."""
        return math.exp(-self.dt / self.value_of(name, index, shape))

    def mean_keep(self, name: str) -> float:
        """Return the decay factor of a state for the mean time constant."""
        return math.exp(-self.dt / self.mean_of(name))

    def _values(self, name: str) -> Array:
        """Return a constant as an array on the CPU, float64."""
        value = getattr(self, name)
        return np.asarray(to_numpy(value.data) if isinstance(value, Tensor) else value, np.float64)

    def forget(self) -> None:
        """Reset stateful neurons: the next call begins with the states' start."""
        if self.held is not None:
            self.held.values = None

    held: ClassVar[States | PopulationStates | None] = None

    def decaying(self, x: Array, name: str) -> Array | None:
        """Return the sum of x (T, N, ...) that decays with a time constant; None if it differs between neurons."""
        keep = to_array(self.keep(name))
        if keep.size > 1:
            return None
        xp, share = namespace(x), x.dtype.type(float(keep.item()))
        out, i = xp.empty(x.shape, x.dtype), xp.zeros(x.shape[1:], x.dtype)
        for t in range(len(x)):
            i = out[t] = share * i + x[t]
        return out

    @classmethod
    def kind(cls) -> Kind:
        """Return the step in the form that kernels take."""
        found: Kind = _kind(cast(Any, cls))
        return found

    @cached_property
    def spiking(self) -> Any:
        """The step, its numbers and the surrogate as an argument of operations."""
        kind = self.kind()
        if self.gradient == "detached":
            kind = kind.detached
        elif self.gradient == "eventprop":
            kind = timed(kind)
        known = constants_of(self.dt)
        constants = {
            name: known[name] if name in known else getattr(self, name) for name in (*kind.numbers, *kind.lags)
        }
        own = [name for name in kind.numbers if np.ndim(_data(constants[name])) or _is_trained(constants[name])]
        kind = kind.with_columns(own)
        values = tuple(_as_number(name, constants[name]) for name in kind.numbers)
        for name, value in zip(kind.numbers, values, strict=True):
            check.finite_range(name, value, value)
        # Any other column follows from all time constants.
        labels = {name: name if hasattr(self, name) else " and ".join(self.time_constants) for name in kind.columns}
        labels_of = tuple(self.decays.get(name, labels[name]) for name in kind.columns)
        lags = tuple(check.integer(name, constants[name], least=0) for name in kind.lags)
        return StepSpiking(kind=kind, values=values, lags=lags, labels=labels_of, **self._constants())

    def column(self, name: str) -> Any:
        """Return a parameter of the step, or a constant that may differ between neurons, as an array or a tensor."""
        if name in self.decays:
            return self.keep(self.decays[name])
        value = getattr(self, name)
        return value if isinstance(value, Tensor) else np.asarray(value)

    @property
    def columns(self) -> dict[str, Any]:
        """The constants that may differ between neurons, as arrays or tensors, by their names in the step."""
        return {name: self.column(name) for name in self.spiking.kind.columns}

    @property
    def as_step(self) -> StepByStep | None:
        own = type(self).__call__ is StepNeuron.__call__ and type(self).operate is StepNeuron.operate
        return StepByStep(self.spiking, self.columns).forward if own and self.step is not None else None

    @property
    def step_by_step(self) -> StepByStep | None:
        kind = self.spiking.kind
        forward = None if self.graded or not kind.fires or len(kind.inputs) > 1 else self.as_step
        return None if forward is None else forward._replace(spiking=self.spiking)

    @property
    def one_pass(self) -> OnePass | None:
        by_step, spiking = self.step_by_step, self.spiking
        if by_step is None or self.stateful or not spiking.fusable or any(map(_is_trained, by_step.keeps.values())):
            return None
        return OnePass(tuple(map(_data, by_step.keeps.values())), spiking)

    def operate(self, x: object, states: object, *more: object) -> Tensor:
        """Return the spikes of the weighted input x (T, N, ...); the call changes the states, None for 0."""
        columns = tuple(self.columns.values())
        if self.backward is not None and any(map(_is_trained, columns)):
            raise ValueError("trained constants need the gradient of the step, got a neuron with its own backward")
        step = x.step if isinstance(x, Tensor) and states is None and not more else None
        if isinstance(x, Tensor) and step is not None and step.requires_grad:
            return with_columns(simulate, step, columns=columns, spiking=self.spiking, repeats=len(x))
        return with_columns(simulate, x, *more, columns=columns, spiking=self.spiking, states=states)

    def __call__(self, x: TensorLike, *more: object) -> Tensor:
        """Return the spikes for the weighted input x (T, N, ...) and the step's further inputs."""
        x = as_tensor(x)
        check.weighted_input("x", x)
        return self.operate(x, self.held, *more)

    @property
    def reads_out(self) -> bool:
        """Whether the step has no spike, so that the output is the potential."""
        return self.step is not None and not self.kind().fires

    @property
    def psp_by_step(self) -> StepByStep | None:
        return StepByStep(self.spiking, self.columns) if self.reads_out else None

    def continued(self) -> Callable[[Tensor], Tensor] | None:
        if type(self).__call__ is not StepNeuron.__call__:
            return None
        states = self._new_states()
        return lambda x: self.operate(x, states)

    def __repr__(self) -> str:
        shown = []
        for each in fields(self):
            value = getattr(self, each.name)
            always = each.name in self.time_constants or each.name == "theta" or isinstance(value, (Tensor, np.ndarray))
            chosen = isinstance(each.default, UsualText) and not isinstance(value, UsualText)
            if always or chosen or value != each.default:
                shown.append(f"{each.name}={_text(value)}")
        order = sorted(shown, key=lambda text: text.partition("=")[0] not in self.time_constants)
        return f"{type(self).__name__}({', '.join(order)})"


def tau_of_decay(name: str, decay: object, dt: float) -> Any:
    """Return the time constants, ms, of lava-dl's decays, the fractions that decay in a step: ``-dt / log(1 - decay)``.

    lava-dl rounds a decay to 4096ths, half to even.
    """
    values = np.rint(np.asarray(4096.0 * np.asarray(decay, np.float64), np.float32)).astype(np.float64) / 4096.0
    if not ((values > 0) & (values < 1)).all():
        raise ValueError(f"{name} must be between 0 and 1, got {check.one_line(decay)}; lava-dl rounds to 4096ths")
    found = -dt / np.log1p(-values)
    return float(found) if values.ndim == 0 else found


def in_64ths(name: str, given: float, least: int = 0) -> float:
    """Return a constant as lava-dl takes it, truncated to a multiple of 1/64."""
    count = int(64.0 * check.not_negative(name, given))
    if count < least:
        raise ValueError(f"{name} must be at least {least}/64, as lava-dl counts in 64ths, got {given:g}")
    return count / 64.0


def to_array(keep: Tensor | Array) -> Array:
    """Return an array, or the data of a tensor."""
    return keep.data if isinstance(keep, Tensor) else keep


def _text(value: object) -> str:
    if isinstance(value, (Tensor, np.ndarray)) and value.size > 1:
        return f"array {value.shape}"
    if isinstance(value, (Tensor, np.ndarray)):
        return f"{value.item():g}"
    return f"{value:g}" if isinstance(value, float) else repr(value)


@lru_cache(64)
def _response(kind: Kind, numbers: tuple[tuple[str, float], ...]) -> Array:
    """Return the potential after a small input; losses call this in every step."""
    return sampled(small_response(kind, dict(numbers)))


@lru_cache(64)
def _gap(kind: Kind, numbers: tuple[tuple[str, float], ...], theta: float) -> float:
    """Return the distance from the potential at rest to the threshold; not positive if the neuron fires by itself."""
    gap = theta
    for u in islice(silent_potentials(kind, dict(numbers)), _RESTED):
        gap = theta - u
        if gap <= 0:
            break
    return gap


@lru_cache(64)
def leaky_response(i_keep: float, v_keep: float) -> Array:
    """Return the voltage after an input of 1, for the decay factors of a current and a voltage."""

    def steps() -> Iterator[float]:
        i, v = 1.0, 0.0
        while True:
            v = v_keep * v + i
            yield v
            i *= i_keep

    return sampled(steps())


def steps_until_cut(size: float) -> int:
    """Return the number of steps after which a factor of each step has fallen to the cut, at most `LONGEST`."""
    if size >= 1:
        return LONGEST
    return int(min(math.log(_CUT) / math.log(size), LONGEST)) if size > 0 else 0


def sampled(step: Any) -> Array:
    """Return a generator's values up to the last that is at least 0.01 of the largest before it, read-only.

    A response that does not fall, as without a leak, has 65,536 samples.
    """
    found, most = list[float](), 0.0
    for value in islice(step, LONGEST):
        most = max(most, abs(value))
        if len(found) > 1 and abs(value) < _CUT * most and abs(value) <= abs(found[-1]):
            break
        found.append(value)
    samples = np.array(found)
    samples.setflags(write=False)
    return samples
