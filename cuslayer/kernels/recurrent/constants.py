"""What recurrent kernels know of neurons, as programs of a step, and of the synapses from a population to itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, TypeAlias

from cuslayer.backend import Array
from cuslayer.kernels.constants import Alpha, Spiking, Window
from cuslayer.kernels.neuron.derive import StepSpiking


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
