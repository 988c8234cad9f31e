"""Hints where a network is dead and no setting would change that: silent input, silent layers, errors of 0."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from cuslayer.inspection.health.layer import LayerHealth
from cuslayer.inspection.health.measure import Measured
from cuslayer.network.graph import Address
from cuslayer.network.input import SILENT_INPUT


def hints(found: Measured, advised: Collection[Address], silent_input: bool) -> tuple[str, ...]:
    """Return what is wrong with a network: silent input, layers that never fire, and layers that get no error.

    Args:
        found: what batches show of the network.
        advised: the layers that have advice, which are not named as silent.
        silent_input: whether the input of all batches is 0 everywhere.
    """
    lines = [f"the input is 0 everywhere; {SILENT_INPUT}"] if silent_input else []
    lines += [_of_silent(each) for each in found.layers if each.fault == "silent" and each.layer not in advised]
    return (*lines, *_of_errors(found.layers, found.loss))


def _of_silent(layer: LayerHealth) -> str:
    """Return why a layer may never fire."""
    if not layer.driven:
        why = "its weighted input is 0: the layer before it sends no spikes, or has weights of 0"
    elif not layer.peak:
        why = "its input never raises the potential; draw the weights before it anew, or give that layer a bias"
    else:
        why = (
            f"its input raises the potential to {layer.peak:.3g} in the median, theta is {layer.theta:g}, and no scale "
            "of the weights helps; draw them anew, or change the neurons"
        )
    return f"{layer.name} never fires: {why}"


def _of_errors(layers: Sequence[LayerHealth], loss: float) -> list[str]:
    """Return which layers get no error, so that nothing before their neurons learns."""
    without = [layer for layer in layers if not layer.error and layer.rates.size]
    if not without or not loss:  # at a loss of 0 there is nothing to learn
        return []
    if len(without) == len(layers):
        return ["no layer gets an error: the surrogate is 0 at all potentials, or the loss has no gradient here"]
    return [
        f"{layer.name} gets no error: the surrogate is 0 at all its potentials, or the weights after it are 0"
        for layer in without
    ]
