"""Advice on the surrogate gradient: its width and its height."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from cuslayer.inspection.health.advice import Advice, rounded
from cuslayer.inspection.health.layer import LayerHealth
from cuslayer.inspection.health.measure import Measured, measure
from cuslayer.inspection.structure import copied

# The surrogate vanishes in a layer whose median distance from the threshold is larger, in widths.
_FAR = 3.0
# Potentials far from the threshold are no reason to widen a surrogate of more than this width, in thresholds.
_NARROW = 0.5
# The accepted errors of the first layer, as multiples of that of the last.
_VANISHES, _EXPLODES = 0.01, 1000.0


def surrogate_advice(net: Any, batches: Sequence[tuple[Any, Any]], loss: Any, before: Measured) -> list[Advice]:
    """Return wider surrogates for layers far from the threshold; if there are none, another height for all.

    The advice is applied to a copy; there is none unless more potentials are within one width of the threshold, or the
    errors of the first and the last layer become more equal. Spikes and the loss do not depend on the surrogate. A
    network that has learned something gets none.
    """
    if before.learned:
        return []
    far = [seen for seen in before.layers if _far(net, seen)]
    if far:
        wider = [_wider(net, seen) for seen in far]
        after = _after(net, wider, batches, loss)
        wide = {layer.layer: layer.within for layer in after.layers}
        better = all(wide[seen.layer] > seen.within for seen in far)
        return wider if better and not after.vanished else []
    share = None if any(layer.silent for layer in before.layers) else _share(before)
    if share is None or _VANISHES <= share <= _EXPLODES or not hasattr(net[before.layers[0].layer], "scale_rho"):
        return []
    found = [_higher(net, before.layers, share)]
    then = _share(_after(net, found, batches, loss))
    return found if then is not None and abs(math.log(then)) < abs(math.log(share)) else []


def _after(net: Any, advice: Sequence[Advice], batches: Sequence[tuple[Any, Any]], loss: Any) -> Measured:
    """Return what batches show of a copy of a network with changed settings."""
    with copied("health", net) as (twin,):
        for each in advice:
            each.apply(twin)
        return measure(twin, batches, loss)


def _far(net: Any, seen: LayerHealth) -> bool:
    narrow = seen.width < _NARROW * abs(seen.theta) and seen.distance > _FAR * seen.width
    return narrow and not seen.fault and hasattr(net[seen.layer], "tau_rho")


def _share(found: Measured) -> float | None:
    """Return the error of the first layer as a share of that of the last; None if one of them is 0."""
    first, last = found.layers[0].error, found.layers[-1].error
    return first / last if first and last else None


def _wider(net: Any, seen: LayerHealth) -> Advice:
    away = seen.distance / seen.width
    reason = (
        f"in the median u is {seen.distance:.3g} from theta, {away:.3g} widths of the surrogate, which has fallen to "
        f"{math.exp(-away):.1g} of its height there and lets no error pass"
    )
    now = net[seen.layer].tau_rho
    return Advice(seen.layer, seen.name, "tau_rho", now, rounded(now * away), reason)


def _higher(net: Any, layers: Sequence[LayerHealth], share: float) -> Advice:
    """Return the scale_rho that makes the errors of the first and the last layer equal."""
    first, between = layers[0], len(layers) - 1
    reason = (
        f"the error {'vanishes' if share < 1 else 'explodes'} on its way back: here it is {share:.2g} times that of "
        "the last layer, and scale_rho multiplies it in each layer"
    )
    now = net[first.layer].scale_rho
    return Advice(first.layer, first.name, "scale_rho", now, rounded(now * share ** (-1 / between)), reason)
