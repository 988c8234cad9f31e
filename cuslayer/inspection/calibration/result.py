"""The result of `calibrate`: what was scaled, and the firing rates before and after."""

from __future__ import annotations

from dataclasses import dataclass

from cuslayer.network.graph import Address


@dataclass(frozen=True)
class LayerCalibration:
    """The scaled weights before one layer of neurons.

    Attributes:
        layer: the position of the neurons, or the path of positions in nested networks.
        name: the layers that were scaled and the kind of the neurons.
        factor: the factor of the weights or gains; 1 if they were kept.
        before: the mean firing rate before, Hz.
        rate: the mean firing rate after, Hz.
        wanted: the rate that was asked for, Hz.
        scaled: whether there were weights or gains to scale.
        no_input: whether the neurons have no input, so that no factor could make them fire.
    """

    layer: Address
    name: str
    factor: float
    before: float
    rate: float
    wanted: float
    scaled: bool
    no_input: bool = False


def _weights(row: LayerCalibration) -> str:
    """Return what happened to the weights."""
    if row.no_input:
        return "no input"
    return f"{row.factor:.3g}" if row.scaled else "kept"


@dataclass(frozen=True)
class Calibration:
    """The result of `calibrate`; it prints as a table.

    Attributes:
        layers: one entry for each layer of neurons, in order.
    """

    layers: tuple[LayerCalibration, ...]

    def __str__(self) -> str:
        head = ("weights times", "rate before", "after (Hz)", "layer")
        rows = [(_weights(row), f"{row.before:.1f}", f"{row.rate:.1f}", row.name) for row in self.layers]
        widths = [max(len(row[column]) for row in (head, *rows)) for column in range(3)]
        lines = ("  ".join((*map(str.rjust, row, widths), row[3])) for row in (head, *rows))
        return "\n".join(lines)
