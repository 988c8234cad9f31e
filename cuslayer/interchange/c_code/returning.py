"""The spikes that neurons send back to themselves, in C: a ring buffer has the spikes of the last steps."""

from __future__ import annotations

from dataclasses import dataclass

from cuslayer.interchange.c_code.program import Program, Ring, Stage, loop
from cuslayer.interchange.c_code.synapses import Frames, kinds, of_spikes, plus


@dataclass(frozen=True)
class Returning:
    """The spikes of the last steps, as the indices of their neurons, and the number of spikes of each step."""

    index: str
    spikes: Ring
    counts: Ring

    @classmethod
    def of(cls, program: Program, stage: Stage, rows: int) -> Returning:
        """Add the ring buffers of a stage to the state."""
        index = f"{program.name}_index"
        spikes = Ring.of(program, f"sent_{stage.number}", index, rows, stage.output.size)
        counts = Ring.of(program, f"sent_count_{stage.number}", "uint32_t", rows, 1)
        return cls(index, spikes, counts)

    def before(self, lag: int | str) -> str:
        """Return the statements that name the spikes `lag` steps ago ``back``, and their number ``returns``."""
        return f"""
            const {self.index} *back = {self.spikes.before(lag)};
            const uint32_t returns = {self.counts.before(lag)}[0];
        """

    @property
    def keep(self) -> str:
        """The statements that keep the spikes of this step."""
        return f"""
            for (uint32_t k = 0; k < number; k++) {{
            {self.spikes.now}[k] = fired[k];
            }}
            {self.counts.now}[0] = number;
            {self.spikes.turn}
            {self.counts.turn}
        """


def conv_of_returns(stage: Stage, weight: str, shape: tuple[int, ...], sums: str) -> str:
    """Return the loop over the spikes ``back`` that adds their weights of a convolution, the layer of the stage."""
    layer = stage.layer
    frames = Frames(layer, stage.output.shape, stage.output.shape)
    inputs, outputs = shape[2:]
    share = outputs // layer.groups
    of_weight, of_sums = kinds(stage)
    taps = f"""
        const uint32_t group = channel / {inputs}u * {share}u;
        const {of_weight} *taps = {weight} + (tap * {inputs}u + channel % {inputs}u) * {outputs}u + group;
        {of_sums} *out = {sums} + to * {outputs}u + group;
        {loop("k", share, f"out[k] = {plus(stage, 'out[k]', 'taps[k]')};")}
    """
    return of_spikes(frames.placed(frames.reached(taps)), events="back", count="returns")
