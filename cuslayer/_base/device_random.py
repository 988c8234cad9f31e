"""The state of the random generator for GPU kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np


@dataclass
class _Held:
    """An array on a device, and its initial state; None if it must be written again."""

    array: Any
    start: tuple[int, int] | None


class DeviceRandom:
    """A key and the number of the next draw, in an array (2,) int64 on each device.

    A draw in a kernel is a function of both; the kernel advances the number. So a captured CUDA graph draws new numbers
    at each launch, without a number from the host. The array of a device stays the same, since graphs have its address.

    Attributes:
        uses: the number of uses of the array, one for each draw that the host launches.
    """

    def __init__(self) -> None:
        self.uses = 0
        self._start: tuple[int, int] | None = None
        self._devices: WeakKeyDictionary[ModuleType, dict[int, _Held]] = WeakKeyDictionary()

    def restart(self, start: tuple[int, int] | None = None) -> None:
        """Start from a key and a number; None draws a new key at the next use."""
        self._start = None if start is None else (start[0], start[1])

    def array(self, module: ModuleType, device: int, key: Callable[[], int], allow: Callable[[], None]) -> Any:
        """Return the array of the device with a number; `allow` raises an error if nothing can be sent there."""
        self.uses += 1
        devices = self._devices.setdefault(module, {})
        held = devices.get(device)
        if held is not None and held.start is self._start is not None:
            return held.array
        allow()
        if self._start is None:
            self._start = key(), 0
        sent = module.asarray(np.array(self._start, np.int64))
        if held is None:
            held = devices[device] = _Held(sent, None)
        else:
            held.array[...] = sent
        held.start = self._start
        return held.array

    def state(self, read: Callable[[Any], Any]) -> tuple[int, int] | None:
        """Return the key and the number of the next draw, which `read` copies from the device; None before any draw."""
        if self._start is None:
            return None
        numbers = [int(read(held.array)[1]) for held in self._all() if held.start is self._start]
        return self._start[0], max([self._start[1], *numbers])

    @contextmanager
    def preserved(self) -> Iterator[None]:
        """Restore the state after the block, without reading from the device."""
        start = self._start
        kept = [(held, held.start, held.array.copy()) for held in self._all() if held.start is start is not None]
        try:
            yield
        finally:
            self._start = start
            for held in self._all():
                held.start = None
            for held, began, array in kept:
                held.array[...], held.start = array, began

    def _all(self) -> list[_Held]:
        return [held for devices in self._devices.values() for held in devices.values()]
