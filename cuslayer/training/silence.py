"""The warning of a batch whose input has no spikes, from which nothing can be learned."""

from __future__ import annotations

from typing import Any

from cuslayer import check, kernels
from cuslayer.backend import to_numpy
from cuslayer.inspection.health.hints import SILENT_INPUT
from cuslayer.kernels.spikes.packed import PackedSpikes
from cuslayer.network.input import as_input


class Silence:
    """Warns of the first batch whose input is 0 everywhere, once.

    Input on a GPU is read for the first batch of an epoch only: the host would have to wait for it.
    """

    def __init__(self) -> None:
        self._warned = False

    def hears(self, x: Any, *, first: bool) -> bool:
        """Return whether an input is not 0 everywhere, True if it is not read; `first` says that it is the first."""
        stored = as_input(x).stored
        on_host = not isinstance(stored, PackedSpikes) and kernels.of(stored) is kernels.cpu
        if self._warned or not stored.size or not (first or on_host):
            return True
        return bool(to_numpy(stored.any()))

    def note(self, heard: bool, batch: int) -> None:
        """Warn if nothing was heard in a batch, numbered from 1."""
        if not heard and not self._warned:
            self._warned = True
            check.warn(f"Trainer: the input of batch {batch} is 0 everywhere, it has no spikes; {SILENT_INPUT}")
