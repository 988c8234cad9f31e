"""What recurrent kernels know of neurons, as programs of a step, and of the synapses from a population to itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeAlias, cast

import numpy as np

from cuslayer.backend import Array, namespace
from cuslayer.kernels.adaptive.constants import Adaptation, AdaptiveSpiking
from cuslayer.kernels.constants import Alpha, Recurrence, Spiking, Window, least_state
from cuslayer.kernels.leaky.constants import LeakySpiking, Reset
from cuslayer.kernels.surrogate.constants import SurrogateNumbers, surrogate_numbers


class SrmNumbers(NamedTuple):
    """Spike response neurons, in the number type of the arrays.

    Attributes:
        theta: the threshold.
        response: the spike response.
        refractory: the refractory response.
        surrogate: the surrogate.
        exact: whether backward includes the path through refraction.
    """

    theta: Any
    response: Recurrence
    refractory: Recurrence
    surrogate: SurrogateNumbers
    exact: bool


class LeakyNumbers(NamedTuple):
    """Leaky neurons, in the number type of the arrays.

    Attributes:
        keep: (2 neurons,), the shares that a step keeps of the currents, then of the voltages.
        reset: what a spike leaves of the voltage.
        backward_reset: the reset whose path backward includes.
        surrogate: the surrogate, with the threshold.
        least: the absolute value under which states become 0.
    """

    keep: Array
    reset: Reset
    backward_reset: Reset
    surrogate: SurrogateNumbers
    least: Any


class AdaptiveNumbers(NamedTuple):
    """Adaptive neurons, in the number type of the arrays.

    Attributes:
        keep: (4 neurons,), the shares that a step keeps of the states, one state after the other.
        adaptation: what a spike adds.
        surrogate: the surrogate.
        exact: whether backward includes the path through adaptation.
        least: the absolute value under which states become 0.
    """

    keep: Array
    adaptation: Adaptation
    surrogate: SurrogateNumbers
    exact: bool
    least: Any


Numbers: TypeAlias = "SrmNumbers | LeakyNumbers | AdaptiveNumbers"


class Backward(NamedTuple):
    """What the gradients of the shares that a step keeps of the states are computed from.

    Attributes:
        y: (T, N, ...), the gradient of the weighted input.
        of_spikes: returns the gradient of the spikes, (T, N, ...), that of the recurrent synapses included.
        u: the potential, (T, N, ...).
        more: what else forward has saved, (arrays, T, N, ...).
        keeps: the shares.
        states: (states, columns), the states before the first step; None for 0.
    """

    y: Array
    of_spikes: Callable[[], Array]
    u: Array
    more: Array
    keeps: Sequence[Array]
    states: Array | None


def side_by_side(keeps: Sequence[Array], neurons: int) -> Array:
    """Return shares, (K,) each with K a divisor of the number of neurons, as one array (states x neurons,)."""
    xp = namespace(keeps[0])
    each = (xp.broadcast_to(keep, (neurons // max(keep.size, 1), keep.size)).reshape(-1) for keep in keeps)
    return cast(Array, xp.concatenate(list(each), axis=0))


@dataclass(frozen=True)
class SrmProgram:
    """Spike response neurons as a program of a step.

    Attributes:
        response: the spike response.
        spiking: threshold, refractory response and surrogate.
        exact: whether backward includes the path through refraction.
        kind: the name of the program.
        states: the number of states of a neuron.
        errors: the number of errors of a neuron that go from a step to the one before.
    """

    response: Alpha
    spiking: Spiking
    exact: bool
    kind: ClassVar[str] = "srm"
    states: ClassVar[int] = 4
    errors: ClassVar[int] = 4

    def saved(self, trained: bool) -> int:
        """Return the number of arrays that backward needs of forward besides the potential."""
        return 0

    def numbers(self, dtype: np.dtype[Any], steps: int, keeps: Sequence[Array], neurons: int) -> SrmNumbers:
        """Return the constants of so many neurons for so many steps."""
        refractory = self.spiking.refractory.recurrence(dtype, steps)
        theta = self.spiking.surrogate(dtype)[0]
        response = self.response.recurrence(dtype, steps)
        return SrmNumbers(theta, response, refractory, surrogate_numbers(self.spiking, dtype), self.exact)

    def keep_adjoint(self, k: Any, given: Backward) -> Sequence[Array]:
        """Return the gradients of the shares for each column: there are none."""
        return ()

    def memory(self, steps: int) -> tuple[int, int]:
        """Return how many steps back inputs, and spikes, act on a step."""
        cuts = (filter.taps if filter.taps < steps else 0 for filter in (self.response, self.spiking.refractory))
        inputs, spikes = cuts
        return inputs, spikes


@dataclass(frozen=True)
class LeakyProgram:
    """Leaky neurons as a program of a step; see `SrmProgram`.

    Attributes:
        spiking: threshold, reset and surrogate.
    """

    spiking: LeakySpiking
    kind: ClassVar[str] = "leaky"
    states: ClassVar[int] = 2
    errors: ClassVar[int] = 2

    def saved(self, trained: bool) -> int:
        """Return the number of arrays that backward needs of forward besides the potential."""
        return 0

    def numbers(self, dtype: np.dtype[Any], steps: int, keeps: Sequence[Array], neurons: int) -> LeakyNumbers:
        """Return the constants of so many neurons, whose shares of current and voltage are `keeps`."""
        resets = self.spiking.reset.of_type(dtype), self.spiking.backward_reset.of_type(dtype)
        least = dtype.type(least_state(dtype))
        return LeakyNumbers(side_by_side(keeps, neurons), *resets, surrogate_numbers(self.spiking, dtype), least)

    def keep_adjoint(self, k: Any, given: Backward) -> Sequence[Array]:
        """Return the gradients of the shares for each column, by the kernels k of the arrays' device."""
        found: Sequence[Array] = k.leaky.keep_adjoint(given.y, given.u, *given.keeps, self.spiking, given.states)
        return found

    def memory(self, steps: int) -> tuple[int, int]:
        """Return how many steps back inputs, and spikes, act on a step: the states have all of it."""
        return 0, 0


@dataclass(frozen=True)
class AdaptiveProgram:
    """Adaptive neurons as a program of a step; see `SrmProgram`.

    Attributes:
        spiking: threshold, adaptation and surrogate.
    """

    spiking: AdaptiveSpiking
    kind: ClassVar[str] = "adaptive"
    states: ClassVar[int] = 4
    errors: ClassVar[int] = 6

    def saved(self, trained: bool) -> int:
        """Return the number of arrays that backward needs of forward besides the potential: rise and refraction."""
        return 2 if trained or self.spiking.exact else 0

    def numbers(self, dtype: np.dtype[Any], steps: int, keeps: Sequence[Array], neurons: int) -> AdaptiveNumbers:
        """Return the constants of so many neurons, whose shares of the four states are `keeps`."""
        surrogate, least = surrogate_numbers(self.spiking, dtype), dtype.type(least_state(dtype))
        constants = self.spiking.adaptation(dtype), surrogate, self.spiking.exact, least
        return AdaptiveNumbers(side_by_side(keeps, neurons), *constants)

    def keep_adjoint(self, k: Any, given: Backward) -> Sequence[Array]:
        """Return the gradients of the shares for each column, by the kernels k of the arrays' device."""
        h, r = given.more
        sums: Sequence[Array] = k.adaptive.adjoint(
            given.of_spikes(), given.u, h, r, given.keeps, self.spiking, given.states, True
        )[1]
        return sums

    def memory(self, steps: int) -> tuple[int, int]:
        """Return how many steps back inputs, and spikes, act on a step: the states have all of it."""
        return 0, 0


Program: TypeAlias = "SrmProgram | LeakyProgram | AdaptiveProgram"


class DenseSynapse(NamedTuple):
    """A dense layer from a population to itself.

    Attributes:
        weight: (neurons, neurons): row i has the weights of what neuron i sends.
    """

    weight: Array


class ConvSynapse(NamedTuple):
    """A convolution from a population to itself.

    Attributes:
        weight: (kh, kw, channels of a group, channels); for errors, the last two axes the other way round.
        rows: of the frame.
        columns: of the frame.
        channels: of the frame.
        groups: the number of groups of channels.
        padding: rows and columns.
        dilation: rows and columns.
    """

    weight: Array
    rows: int
    columns: int
    channels: int
    groups: int
    padding: tuple[int, int]
    dilation: tuple[int, int]


class Geometry(NamedTuple):
    """The convolution from a population to itself: the window, and the number of groups."""

    window: Window
    groups: int
