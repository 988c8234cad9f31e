"""The rates that a network was last seen to fire at.

A forward pass counts nothing, so that it costs nothing: rates come from whoever looks at the spikes anyway, and stay
here for as long as the network lives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

_seen: WeakKeyDictionary[Any, dict[int, float]] = WeakKeyDictionary()


def note_rates(net: Any, rates: Mapping[int, float]) -> None:
    """Keep the mean rates of layers by position, in spikes a neuron and second, in place of what was seen before.

    >>> from cuslayer.network import Sequential
    >>> net = Sequential()
    >>> note_rates(net, {1: 12.5}); rates_of(net)
    {1: 12.5}
    """
    _seen[net] = dict(rates)


def rates_of(net: Any) -> dict[int, float]:
    """Return the rates that were last seen, by the position of the layer; nothing where nobody looked."""
    return dict(_seen.get(net, {}))
