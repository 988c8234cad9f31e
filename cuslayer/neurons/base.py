"""The interface of neurons for networks, losses, files and inspection.

A neuron takes the weighted input (T, N, ...) of a layer and returns its spikes. `Neuron` has a default for every
attribute, so that a new kind defines only what differs:

- ``theta`` and ``__call__`` always, and ``dt`` if it is not 1 ms;
- ``response`` (samples of the potential's response to an input of 1), by which ``psp`` and losses filter;
- ``refractory``, ``surrogate(u)``, ``fires(u)``, ``width`` if they differ from the defaults;
- ``parts`` and ``parts_at`` if the potential has other parts than ``response`` and ``refractory``; ``parts_of`` if they
  depend on the input;
- ``current(x)`` for neurons with a synaptic current, which `record` then shows;
- ``step_by_step`` for neurons that `Recurrent` can run step by step;
- ``simulation`` if a page can run the neurons otherwise than by ``step_by_step``;
- its operation passes the potential to `save_for_backward`, for `record`.

Any other callable object with ``theta`` and ``psp`` is a neuron too; `as_neuron` adds the defaults.
"""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from cuslayer import kernels
from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._tape import Pullback, Tensor, differentiable
from cuslayer.backend import Array
from cuslayer.kernels.constants import Shape
from cuslayer.kernels.step.derive import StepSpiking
from cuslayer.kernels.step.filters import Alpha, Sampled, filtering
from cuslayer.neurons.integrated import PotentialParts
from cuslayer.surrogates import EXPONENTIAL, Surrogate, as_surrogate


@differentiable
@check.operation
def psp(x: Array, /, *, response: Alpha | Sampled | Array) -> tuple[Array, Pullback]:
    """Filter each column of x causally in time: ``a[t] = sum_k eps[k] x[t-k]``.

    Backward is the correlation ``g_x[t] = sum_k eps[k] g_a[t+k]``. An alpha function is computed as a recurrence, whose
    cost does not depend on the time constant; samples are summed directly.

    Args:
        x: (T, N, ...), numbers or spikes.
        response: an alpha function, or the samples (K,) of any filter, the first at lag 0.

    Returns:
        The filtered signal, of x's shape.

    Raises:
        ValueError: x is not (T, N, ...), or the samples are not (K,).

    Source: Shrestha and Orchard 2018, equation 1.

    >>> import numpy as np
    >>> psp(np.array([[[True]], [[False]], [[True]]]), response=np.array([0.0, 1.0, 0.5])).data.ravel().tolist()
    [0.0, 1.0, 0.5]
    """
    check.time_first("x", x)
    if not isinstance(response, (Alpha, Sampled)):
        response = Sampled(response, 1.0)
    k = kernels.of(x)
    return response.apply(k, x), lambda g: response.adjoint(k, g)


class OnePass(NamedTuple):
    """Arguments of fused operations for neurons.

    Attributes:
        constants: the constants that may differ between neurons, arrays that broadcast to them.
        spiking: the kind of neuron and its other constants.
    """

    constants: tuple[Array, ...]
    spiking: StepSpiking


class SrmForm(NamedTuple):
    """The filters of spike response neurons.

    Attributes:
        response: the spike response.
        refractory: the response of the potential to the neuron's own spike.
        spiking: the kind of neuron and its constants.
        refracting: the same after the spike response; see `functions.spike`.
    """

    response: Alpha
    refractory: Alpha
    spiking: StepSpiking
    refracting: StepSpiking


class LeakyForm(NamedTuple):
    """Leaky neurons as other libraries write them: ``i[t] = a i[t-1] + x[t]``, ``u[t] = b r[t-1] + i[t]``.

    Attributes:
        i_keep: a, the decay factor of the current; it broadcasts to the neurons. None without a current.
        v_keep: b, the decay factor of the voltage.
        theta: the threshold; a spike where ``u >= theta``.
        reset: "zero", "subtract" or "none".
        graded: whether a spike carries the voltage.
    """

    i_keep: Array | None
    v_keep: Array
    theta: float
    reset: str
    graded: bool


class StepByStep(NamedTuple):
    """Neurons in the form that kernels run step by step.

    Attributes:
        spiking: the kind of neurons and its constants.
        keeps: the decay factors of the states, arrays or tensors, by their names in the step.
    """

    spiking: StepSpiking
    keeps: Mapping[str, Any]

    @property
    def forward(self) -> StepByStep:
        """The neurons without what only their gradient needs, for files and other programs."""
        return self._replace(spiking=self.spiking.forward)


class Names(NamedTuple):
    """SLAYER's names for a kind of neuron and its constants.

    Attributes:
        type: the name of the kind.
        needed: for each required constant, SLAYER's name and the attribute's name.
        options: the same for optional constants, which SLAYER does not have.
    """

    type: str
    needed: Mapping[str, str]
    options: Mapping[str, str]

    @property
    def all(self) -> dict[str, str]:
        """The attribute of every constant, by its name in files."""
        return {**self.needed, **self.options}


def usable_names(kind: type, names: Iterable[str]) -> list[str]:
    """Return the names of attributes that Tab shows: not private, and not in `_machinery` of a class."""
    machinery = {name for base in kind.__mro__ for name in vars(base).get("_machinery", "").split()}
    return [name for name in names if name not in machinery and (name[:1] != "_" or name[:2] == "__")]


class Listed(ABCMeta):
    """The class of classes of layers and neurons: `help` shows of the machinery only what a class defines itself.

    It derives from ABCMeta, so that a subclass may also derive from ABC; isinstance stays as fast as of any class.
    """

    __instancecheck__ = type.__instancecheck__
    __subclasscheck__ = type.__subclasscheck__

    def __dir__(cls) -> list[str]:
        return sorted({*usable_names(cls, super().__dir__()), *vars(cls)})


# The modes of the gradient; the last one is of spike times, without a surrogate.
GRADIENTS = "slayer", "detached", "exact", "eventprop"

# The option of files for the shape of the surrogate.
SURROGATE = {"surrogate": "surrogate"}

# The kinds of neurons in configuration files, by name.
KINDS: dict[str, type[Neuron]] = {}


@check.named
class Neuron(metaclass=Listed):
    """A kind of neuron: ``s = neuron(x)``, x (T, N, ...) the weighted input, s boolean spikes.

    Attributes:
        theta: the threshold.
        dt: the step, ms.
        gradient: the mode of the gradient, "slayer", "detached", "exact" or "eventprop".
        period: the minimum number of steps from one spike to the next.
        peak: the peak of the response to a unit input; `psp` is scaled to a peak of 1.
        parts: how `explain` decomposes the potential: "exact" if ``u = psp(x) + refraction``, "stepwise" if it is the
            sum of `parts_at`, "integrated" if it is the sum of `parts_of` except where the step jumps, "partial" if
            other terms act on it, "none" if it has no such parts.
        weight_scale: initial weight scale of layers before these neurons in a network; None for the layer's default.
        weight_grid: step and limits to which weights before these neurons are rounded; None for no rounding.
        axon_delay: delay in steps from these neurons to the next layer of a `Network`.
        max_delay: the maximum trained delay in steps; None for no limit.
        names: the names in configuration files; None if the kind has none.

    >>> class Step(Neuron):
    ...     theta = 2.0
    >>> Step().fires(np.array([1.0, 2.0])).tolist(), Step().pool_gain
    ([False, True], 2.2)
    """

    if TYPE_CHECKING:  # a subclass may define these as fields, attributes or properties

        @property
        def theta(self) -> float: ...
        @property
        def dt(self) -> float: ...
        @property
        def gradient(self) -> str: ...
        @property
        def period(self) -> int: ...
        @property
        def peak(self) -> float: ...
        @property
        def parts(self) -> str: ...
    else:
        dt, gradient, period, peak, parts = 1.0, "slayer", 1, 1.0, "partial"
    # Whether the output is the potential, not spikes.
    reads_out: Any = False
    # Whether all states are 0 before the first step.
    starts_at_zero: Any = True
    weight_scale: ClassVar[float | None] = None
    weight_grid: ClassVar[tuple[float, tuple[float, float]] | None] = None
    axon_delay: ClassVar[int] = 0
    max_delay: ClassVar[int | None] = None
    names: ClassVar[Names | None] = None
    # For recurrent neurons: the weighted input from their own spikes (T, N, ...).
    recurrence: Callable[[Any], Tensor] | None = None
    # The layer of this input; the neurons' method `balance` sets its weights for `calibrate`.
    own_layer: Any = None

    # What the library reads and calls.
    _machinery = """
        axon_delay continued leaky_form max_delay names one_pass own_layer parts parts_at parts_of psp_by_step
        psp_steps reads_out recurrence relaxed simulation srm_form starts_at_zero step_by_step weight_grid weight_scale
        with_gradient with_step
    """

    def __dir__(self) -> list[str]:
        return usable_names(type(self), super().__dir__())

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        own = vars(cls).get("names")
        if own is not None:
            KINDS[own.type] = cls

    def __call__(self, x: TensorLike) -> Tensor:
        """Return the spikes of the weighted input x (T, N, ...)."""
        raise TypeError("a neuron must define __call__")

    @property
    def response(self) -> Array:
        """The samples of the potential's response to an input of 1, (K,) float64; by default the input itself."""
        return np.ones(1)

    @property
    def refractory(self) -> Array:
        """The samples of the potential's response to the neuron's own spike, (K,) float64; by default 0."""
        return np.zeros(1)

    @property
    def filter(self) -> Alpha | Sampled:
        """The response, scaled to a peak of 1, as an argument of `functions.psp`."""
        return Sampled(self.response / self.peak, self.dt)

    @property
    def width(self) -> float:
        """The width of the surrogate, in units of the potential: tau_rho thresholds; one threshold without tau_rho."""
        width: float = getattr(self, "tau_rho", 1.0) * abs(self.theta)
        return width or 1.0

    @property
    def gap(self) -> float:
        """The distance from the potential without input to the threshold; not positive if the neurons fire alone."""
        return self.theta

    @property
    def highest_rate(self) -> float:
        """The highest firing rate that the neurons can have, Hz: a spike every `period` steps."""
        return 1000.0 / self.dt / self.period

    @property
    def pool_gain(self) -> float:
        """The weight of a pooling layer before these neurons; by default 1.1 theta: one input spike causes a spike."""
        return 1.1 * self.theta

    @property
    def one_pass(self) -> OnePass | None:
        """The arguments of operations that fuse the neurons with the layer before them; None if none does."""
        return None

    @property
    def srm_form(self) -> SrmForm | None:
        """The filters of a spike response neuron; None for any other kind."""
        return None

    @property
    def leaky_form(self) -> LeakyForm | None:
        """The constants of a leaky neuron with a reset; None for any other kind."""
        return None

    @property
    def step_by_step(self) -> StepByStep | None:
        """The neurons in the form that `Recurrent` runs step by step; None for neurons without this form."""
        return None

    @property
    def as_step(self) -> StepByStep | None:
        """The step of the neurons forward, also if they send numbers; None for neurons that are not written as one."""
        by_step = self.step_by_step
        return None if by_step is None else by_step.forward

    @property
    def relaxed(self) -> Surrogate | None:
        """The surrogate of a smooth spike, ``ds / du = dt rho(u)``, by which `compare_gradients` relaxes neurons.

        The potential must be the sum of `response` and `refractory`; None for all other neurons.
        """
        return None

    @property
    def simulation(self) -> StepByStep | None:
        """The neurons as the page of `write_demo` runs them in float32, to the bit; None if it cannot."""
        by_step = None if getattr(self, "stateful", False) else self.step_by_step
        return None if by_step is None else by_step.forward

    def continued(self) -> Callable[[Tensor], Tensor] | None:
        """Return the neurons with a state of their own, for streams and chunks of time; None if they keep none.

        Call the result with the chunks (T, N, ...) of the weighted input in order, as tensors; it returns their spikes.
        """
        return None

    @property
    def psp_by_step(self) -> StepByStep | None:
        """`psp` as neurons that do not fire, in the form that kernels run step by step; None without this form."""
        response = self.filter
        if self._psp_is_own or isinstance(response, Sampled):
            return None
        return StepByStep(filtering(response), {})

    @property
    def psp_steps(self) -> int | None:
        """The number of earlier steps that `psp` uses; None if a subclass defines `psp`."""
        return None if self._psp_is_own else len(self.response) - 1

    @property
    def _psp_is_own(self) -> bool:
        return getattr(self.psp, "__func__", None) is not Neuron.psp

    def psp(self, x: TensorLike) -> Tensor:
        """Filter x (T, N, ...), spikes or numbers, by the response: ``a[t] = sum_k eps[k] x[t-k]``.

        A step without a spike has its own potential as the result.
        """
        return self(x) if self.reads_out else psp(x, response=self.filter)

    def fires(self, u: Array) -> Array:
        """Return where potentials u reach the threshold: ``u >= theta``, in u's dtype."""
        return u >= u.dtype.type(self.theta)

    def current(self, x: Array) -> Array | None:
        """Return the synaptic current (T, N, ...) for the weighted input x (T, N, ...); None if the neuron has none."""
        return None

    def surrogate(self, u: Array) -> Array | None:
        """Return the surrogate's value rho(u), per ms, at potentials u; None if the neuron has none."""
        return None

    def parts_at(self, spikes: Array, time: int, index: tuple[int, ...], shape: tuple[int, ...]) -> tuple[Array, Array]:
        """Return the contributions of each input and each own spike to a neuron's potential at a step.

        Args:
            spikes: (T,), whether the neuron has fired at each step.
            time: the step.
            index: the index of the neuron in its layer.
            shape: the shape of the layer.

        Returns:
            The contributions of a weighted input of 1 at each step, and of a spike at each step, both (T,) float64; by
            default from `response` and `refractory`.
        """
        lags = time - np.arange(len(spikes))
        return at_lags(self.response, lags), np.where(lags > 0, at_lags(self.refractory, lags), 0.0) * (spikes != 0)

    def parts_of(
        self, x: Array, spikes: Array, weights: Array, index: tuple[int, ...], shape: tuple[int, ...]
    ) -> PotentialParts:
        """Return the parts of a weighted sum of a neuron's potentials, by default from `parts_at`.

        Args:
            x: (T,), the weighted input.
            spikes: (T,), whether the neuron has fired at each step.
            weights: (T,), the weight of each step's potential.
            index: the index of the neuron in its layer.
            shape: the shape of the layer.
        """
        of_input, of_spikes = np.zeros(len(x)), np.zeros(len(x))
        for time in np.flatnonzero(weights).tolist():
            by_input, by_spikes = self.parts_at(spikes, time, index, shape)
            of_input += weights[time] * by_input
            of_spikes[:time] += weights[time] * by_spikes[:time]
        return PotentialParts(of_input, of_spikes)

    def with_step(self, dt: float) -> Neuron:
        """Return the neuron with another dt, ms, if it is a dataclass with the default dt; else itself."""
        if self.dt == dt or not is_dataclass(self) or not is_usual(self, "dt"):
            return self
        return replace(self, dt=dt)

    def with_gradient(self, mode: str) -> Neuron:
        """Return the neuron with another gradient mode; itself if it has no such dataclass field."""
        modes = is_dataclass(self) and any(each.name == "gradient" for each in fields(self))
        return replace(self, gradient=mode) if modes else self  # type: ignore[type-var]


def at_lags(samples: Array, lags: Array) -> Array:
    """Return the samples of a filter at lags, 0 before the first and after the last."""
    inside = (lags >= 0) & (lags < len(samples))
    return np.where(inside, samples[np.where(inside, lags, 0)], 0.0)


class _Adapted(Neuron):
    """Adapter for an object with a threshold and a response: adds the defaults of `Neuron`."""

    def __init__(self, neuron: Any) -> None:
        self._neuron = neuron

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__") or name == "_neuron":
            return super().__getattribute__(name)
        return getattr(self._neuron, name) if hasattr(self._neuron, name) else super().__getattribute__(name)

    def __call__(self, x: TensorLike) -> Tensor:
        return self._neuron(x)


def mean_rate(spikes: Array, dt: float) -> float:
    """Return the mean firing rate, Hz, of spikes of any shape, such as (T, N, ...), for a step of dt ms; 0 for none."""
    return float(spikes.sum()) / max(spikes.size, 1) * 1000.0 / dt


def shown(neuron: Any) -> str:
    """Return a neuron, a dataclass, as text: its constants, and its surrogate unless it is the exponential."""
    constants = {each.name: getattr(neuron, each.name) for each in fields(neuron) if each.init}
    if constants["surrogate"] == EXPONENTIAL:
        del constants["surrogate"]
    return f"{type(neuron).__name__}({', '.join(f'{name}={value!r}' for name, value in constants.items())})"


def set_checked(neuron: object, **rules: Callable[[str, object], object]) -> None:
    """Validate constants of a frozen neuron, each by its rule, and set them to the rule's results."""
    for name, rule in rules.items():
        object.__setattr__(neuron, name, rule(name, getattr(neuron, name)))


class Usual:
    """A default that nobody chose, which `Recurrent` replaces; a base class of numbers and texts."""


class UsualNumber(Usual, float):
    """A default number."""


class UsualText(Usual, str):
    """A default text."""


class BalancedScale(float):
    """A scale of a surrogate that `calibrate` has set; it belongs to the state of a network."""


# The defaults of the surrogate gradient, except in a `Recurrent`.
USUAL_SCALE = UsualNumber(1.0)
USUAL_WIDTH = UsualNumber(1.0)
USUAL_GRADIENT = UsualText("slayer")
# The step of neurons, which take that of their network, and of delays and read-outs, which take that of the neurons.
USUAL_STEP = UsualNumber(1.0)


def is_usual(neuron: object, *names: str) -> bool:
    """Return whether neurons have defaults of these names that nobody chose."""
    return all(isinstance(getattr(neuron, name, None), Usual) for name in names)


def is_balanced(neuron: object) -> bool:
    """Return whether `calibrate` has set the scale of the surrogate."""
    return isinstance(getattr(neuron, "scale_rho", None), BalancedScale)


def has_usual_scale(neuron: object) -> bool:
    """Return whether the scale of the surrogate is the default, or `calibrate` has set it."""
    return is_dataclass(neuron) and (is_usual(neuron, "scale_rho") or is_balanced(neuron))


def with_balanced_scale(neuron: Any, scale: float) -> Neuron:
    """Return neurons with another scale of the surrogate, in the same state."""
    changed = replace(neuron, scale_rho=BalancedScale(scale))
    if is_stateful(neuron):
        object.__setattr__(changed, "held", neuron.held)
    return changed


def usual_or_constant(name: str, value: object) -> float:
    """Return a constant of the surrogate as a float, as `check.constant` does; a default stays one."""
    return value if isinstance(value, (UsualNumber, BalancedScale)) else check.constant(name, value)


def usual_or_step(name: str, value: object) -> float:
    """Return a step in ms, as `check.time_step` does; a default stays one."""
    return value if isinstance(value, UsualNumber) else check.time_step(name, value)


def word_or_none(*words: str) -> Callable[[str, object], str]:
    """Return the rule that accepts some words, and None for "none"."""
    return lambda name, value: check.one_of(name, "none" if value is None else value, words)


def scaled_surrogate(neuron: Neuron, height: float) -> None:
    """Scale the attribute `surrogate` of a neuron, a name or a surrogate, to its threshold, width and a height per ms.

    A method of this name in a subclass stays.
    """
    of_width = "tau_rho theta"
    check.constant(of_width, neuron.width)
    check.constant(f"scale_rho / ({of_width})", height)
    check.constant(f"dt scale_rho / ({of_width})", neuron.dt * height)
    if not isinstance(getattr(type(neuron), "surrogate", None), Surrogate):
        object.__delattr__(neuron, "surrogate")
        return
    found = as_surrogate(neuron.surrogate)
    object.__setattr__(neuron, "surrogate", found.scaled(neuron.theta, neuron.width, height))


def scaled_or_none(neuron: Neuron) -> Surrogate | None:
    """Return the surrogate of a neuron; None if a subclass overrides it by a method."""
    found: Any = neuron.surrogate
    return found if isinstance(found, Surrogate) else None


def shape_of(neuron: Neuron) -> Shape:
    """Return the shape of a neuron's surrogate for kernels; the exponential if a subclass overrides it."""
    found = scaled_or_none(neuron)
    return (EXPONENTIAL if found is None else found).shape


def is_neuron(stage: object) -> bool:
    """Return whether a stage of a network is a `Neuron`, or a callable with ``theta`` and ``psp``."""
    if isinstance(stage, Neuron):
        return True
    if isinstance(stage, type):
        return False
    return callable(stage) and hasattr(stage, "theta") and callable(getattr(stage, "psp", None))


def is_stateful(stage: object) -> bool:
    """Return whether neurons, or a population of them, continue from the state after their last call."""
    return bool(getattr(getattr(stage, "neuron", stage), "stateful", False))


def as_neuron(neuron: object, name: str = "neuron") -> Neuron:
    """Return a neuron as a `Neuron`; raise TypeError, for an argument of an operation, if it is not a neuron."""
    if isinstance(neuron, Neuron):
        return neuron
    if not is_neuron(neuron):
        if isinstance(neuron, type):
            raise TypeError(f"{name} must be a neuron, got the class {neuron.__name__}; write {neuron.__name__}()")
        raise TypeError(f"{name} must be a neuron, got {type(neuron).__name__}")
    return _Adapted(neuron)
