"""The warning of a batch whose input has no spikes, from which nothing can be learned."""

from __future__ import annotations

from typing import Any

from cuslayer import check, kernels
from cuslayer.backend import to_numpy
from cuslayer.inspection.health.compute import SILENT_INPUT
from cuslayer.kernels.spikes.packed import PackedSpikes
from cuslayer.network.input import as_input


class Silence:
    """Warns of the first batch whose input is 0 everywhere, once."""

    def __init__(self) -> None:
        self._warned = False

    def hears(self, x: Any, *, on_device: bool = False) -> bool:
        """Return whether an input is not 0 everywhere; True if it is on a GPU, unless that is to be waited for."""
        stored = as_input(x).stored
        on_host = not isinstance(stored, PackedSpikes) and kernels.of(stored) is kernels.cpu
        if self._warned or not stored.size or not (on_host or on_device):
            return True
        return bool(to_numpy(stored.any()))

    def note(self, heard: bool, batch: int) -> None:
        """Warn if nothing was heard in a batch, numbered from 1."""
        if not heard and not self._warned:
            self._warned = True
            check.warn(f"Trainer: the input of batch {batch} is 0 everywhere, it has no spikes; {SILENT_INPUT}")
