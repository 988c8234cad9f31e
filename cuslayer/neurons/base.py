"""The contract of a neuron: all that networks, losses, files and inspection ask of one.

A neuron is called on the weighted input (T, N, ...) of a layer and returns its spikes. `Neuron` answers every question
with a default, so that a new kind writes down what is its own:

- ``theta``, ``dt`` and ``__call__`` always;
- ``response`` (samples of the potential's response to an input of 1), by which ``psp`` and losses filter;
- ``refractory``, ``surrogate(u)``, ``fires(u)``, ``width`` where they differ from the defaults;
- what an operation hands to `save_for_backward` is recorded as the potential.

An object that has ``theta`` and ``psp`` without being a `Neuron` is taken for one too; `as_neuron` adds the defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels.constants import Alpha, Sampled, Spiking
from cuslayer.neurons.response import psp
from cuslayer.tape import Tensor


class OnePass(NamedTuple):
    """What a spike response neuron computes, as fused operations take it.

    Attributes:
        response: the spike response.
        spiking: threshold, refractory response and surrogate.
        exact: whether backward keeps the path through refraction.
    """

    response: Alpha
    spiking: Spiking
    exact: bool


class Names(NamedTuple):
    """What SLAYER calls a kind of neuron and its constants.

    Attributes:
        type: the word for the kind.
        needed: our name of each of SLAYER's constants.
        options: our name of each constant that SLAYER does not have.
    """

    type: str
    needed: Mapping[str, str]
    options: Mapping[str, str]

    @property
    def all(self) -> dict[str, str]:
        """Our name of every constant."""
        return {**self.needed, **self.options}


# Every kind of neuron that has a name in configuration files, by that name.
KINDS: dict[str, type[Neuron]] = {}


class Neuron:
    """A kind of neuron: ``s = neuron(x)``, x (T, N, ...) the weighted input, s boolean spikes.

    Attributes:
        theta: the threshold.
        dt: the step, ms.
        gradient: the mode of the surrogate gradient, "slayer" or "exact".
        period: the fewest steps from one spike to the next.
        peak: the potential's largest answer to a unit input; `psp` is scaled to a peak of 1.
        parts: what `explain` can take apart: "exact" where ``u = psp(x) + refraction`` holds, "partial" where more
            acts on the potential, "none" where its parts mean nothing.
        weight_scale: scale at which weights before these neurons start in a `Network`; None: the layer's own.
        weight_grid: step and limits that such weights are rounded to; None: not at all.
        axon_delay: steps that a spike takes to the next layer of a `Network`.
        max_delay: the longest trained delay in steps; None: no limit.
        names: what configuration files call the neuron; None: nothing.
    """

    if TYPE_CHECKING:  # a kind may have these as fields, attributes or properties

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
    weight_scale: ClassVar[float | None] = None
    weight_grid: ClassVar[tuple[float, tuple[float, float]] | None] = None
    axon_delay: ClassVar[int] = 0
    max_delay: ClassVar[int | None] = None
    names: ClassVar[Names | None] = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = vars(cls).get("names")
        if own is not None:
            KINDS[own.type] = cls

    def __call__(self, x: Any) -> Tensor:
        """Return the spikes of the weighted input x (T, N, ...)."""
        raise TypeError(f"{type(self).__name__}: a neuron must define __call__")

    @property
    def response(self) -> Array:
        """The samples of the potential's response to an input of 1, (K,) float64; by default the input itself."""
        return np.ones(1)

    @property
    def refractory(self) -> Array:
        """The samples of the potential's response to a spike of the neuron's own, (K,) float64; by default 0."""
        return np.zeros(1)

    @property
    def filter(self) -> Alpha | Sampled:
        """The response as `functions.psp` takes it, scaled to a peak of 1."""
        return Sampled(self.response / self.peak, self.dt)

    @property
    def width(self) -> float:
        """The width of the surrogate, in units of the potential; by default the threshold."""
        return abs(self.theta) or 1.0

    @property
    def pool_gain(self) -> float:
        """The weight of a pooling layer before these neurons; by default 1.1 theta: one spike makes one."""
        return 1.1 * self.theta

    @property
    def one_pass(self) -> OnePass | None:
        """What fused operations take, where the neuron is a spike response neuron through and through."""
        return None

    @property
    def laplace(self) -> tuple[float, float] | None:
        """Width and height of ``dt rho(u) = height exp(-|u - theta| / width)``; None of another surrogate."""
        return None

    def psp(self, x: Any) -> Tensor:
        """Filter x (T, N, ...), spikes or numbers, by the response: ``a[t] = sum_k eps[k] x[t-k]``."""
        return psp(x, response=self.filter)

    def fires(self, u: Array) -> Array:
        """Return where potentials u make a spike: ``u >= theta``, compared in u's number type."""
        return u >= u.dtype.type(self.theta)

    def surrogate(self, u: Array) -> Array | None:
        """Return the surrogate's value rho(u), per ms, at potentials u; None where the neuron does not say."""
        return None

    def with_gradient(self, mode: str) -> Neuron:
        """Return the neuron with another mode of the gradient; one that has a single mode returns itself."""
        return self


class _Adapted(Neuron):
    """An object with a threshold and a response, and the contract's defaults for what it lacks."""

    def __init__(self, neuron: Any) -> None:
        self._neuron = neuron

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__") or name == "_neuron":
            return super().__getattribute__(name)
        return getattr(self._neuron, name) if hasattr(self._neuron, name) else super().__getattribute__(name)

    def __call__(self, x: Any) -> Tensor:
        return self._neuron(x)


def is_neuron(stage: Any) -> bool:
    """Return whether a stage of a network is a neuron: a `Neuron`, or what has a threshold and a response."""
    if isinstance(stage, Neuron):
        return True
    return callable(stage) and hasattr(stage, "theta") and callable(getattr(stage, "psp", None))


def as_neuron(op: str, neuron: Any, name: str = "neuron") -> Neuron:
    """Return a neuron with the whole contract; raise TypeError, for an operation's argument, where it is none."""
    if isinstance(neuron, Neuron):
        return neuron
    if not is_neuron(neuron):
        raise TypeError(f"{op}: {name} must be a neuron, got {type(neuron).__name__}")
    return _Adapted(neuron)
