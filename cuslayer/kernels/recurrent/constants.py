"""What recurrent kernels know of neurons, as programs of a step, and of the synapses from a population to itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeAlias, cast

import numpy as np

from cuslayer.backend import Array, namespace
from cuslayer.kernels.constants import Alpha, Recurrence, Spiking, Window, least_state
from cuslayer.kernels.neuron.derive import StepSpiking
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


class StepNumbers(NamedTuple):
    """Neurons that are written as a step, in the number type of the arrays.

    Attributes:
        constants: (constants x neurons,), those of which each neuron has its own, one after the other.
        numbers: the other constants, and the absolute value under which states become 0.
        surrogate: the surrogate.
        old: the states before the first step that backward needs, (states, N, neurons).
        rows: the functions that run a row of neurons.
        none: an array without elements.
    """

    constants: Array
    numbers: Array
    surrogate: SurrogateNumbers
    old: Array
    rows: Any
    none: Array


Numbers: TypeAlias = "SrmNumbers | StepNumbers"


def of_neurons(constants: Array, neurons: int) -> Array:
    """Return constants (constants, K), K a divisor of the number of neurons, for each neuron, (constants, neurons)."""
    xp, (count, size) = namespace(constants), constants.shape
    spread = xp.broadcast_to(constants[:, None], (count, neurons // max(size, 1), size))
    return cast(Array, xp.ascontiguousarray(spread.reshape(count, neurons)))


@dataclass(frozen=True)
class SrmProgram:
    """Spike response neurons as a program of a step.

    Attributes:
        response: the spike response.
        spiking: threshold, refractory response and surrogate.
        exact: whether backward includes the path through refraction.
        states: the number of states of a neuron, and of their gradients.
    """

    response: Alpha
    spiking: Spiking
    exact: bool
    states: ClassVar[int] = 4

    def saved(self, trained: bool) -> tuple[str, ...]:
        """Return the values that backward needs of forward besides the potential: none."""
        return ()

    def numbers(
        self,
        dtype: np.dtype[Any],
        steps: int,
        constants: Array,
        shape: tuple[int, int],
        rows: Any = None,
        before: Array | None = None,
    ) -> SrmNumbers:
        """Return the constants of the neurons for so many steps."""
        refractory = self.spiking.refractory.recurrence(dtype, steps)
        theta = self.spiking.surrogate(dtype)[0]
        response = self.response.recurrence(dtype, steps)
        return SrmNumbers(theta, response, refractory, surrogate_numbers(self.spiking, dtype), self.exact)

    def memory(self, steps: int) -> tuple[int, int]:
        """Return how many steps back inputs, and spikes, act on a step."""
        cuts = (filter.taps if filter.taps < steps else 0 for filter in (self.response, self.spiking.refractory))
        inputs, spikes = cuts
        return inputs, spikes


@dataclass(frozen=True)
class StepProgram:
    """Neurons that are written as a step; see `SrmProgram`.

    Attributes:
        spiking: the kind of neuron, its constants and the surrogate.
    """

    spiking: StepSpiking

    @property
    def states(self) -> int:
        """The number of states of a neuron."""
        return len(self.spiking.kind.states)

    def saved(self, trained: bool) -> tuple[str, ...]:
        """Return the values that backward needs of forward besides the potential."""
        return self.spiking.saved(trained)

    def numbers(
        self,
        dtype: np.dtype[Any],
        steps: int,
        constants: Array,
        shape: tuple[int, int],
        rows: Any = None,
        before: Array | None = None,
    ) -> StepNumbers:
        """Return the constants of N x neurons, and of the states before the first step what backward needs."""
        own, old = of_neurons(constants, shape[1]).reshape(-1), list(self.spiking.old(False))
        numbers = np.array([*self.spiking.numbers(dtype), least_state(dtype)], dtype)
        states = np.zeros((len(old), *shape), dtype) if before is None else before[old].reshape(len(old), *shape)
        surrogate = surrogate_numbers(self.spiking, dtype)
        return StepNumbers(own, numbers, surrogate, states, rows, np.empty(0, np.uint8))

    def memory(self, steps: int) -> tuple[int, int]:
        """Return how many steps back inputs, and spikes, act on a step: the states have all of it."""
        return 0, 0


Program: TypeAlias = "SrmProgram | StepProgram"


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
