"""The part of cupy.cuda that the library uses: devices, streams, events, errors."""

from __future__ import annotations

import time
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

from tools.fake_cupy import modules
from tools.fake_cupy.state import OutOfMemoryError, begin_capture, check_transfer, end_capture, state

DEVICES = 2


class Device:
    """A device; a ``with`` block uses it."""

    def __init__(self, number: int | None = None) -> None:
        self.id = state().device if number is None else number
        if not 0 <= self.id < DEVICES:
            raise RuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        self._before: list[int] = []

    @property
    def attributes(self) -> dict[str, int]:
        return {"MaxSharedMemoryPerBlockOptin": modules.MOST_SHARED, "MultiProcessorCount": 132}

    def use(self) -> None:
        state().device = self.id

    def __enter__(self) -> Device:
        self._before.append(state().device)
        state().device = self.id
        return self

    def __exit__(self, *_: Any) -> None:
        state().device = self._before.pop()

    def synchronize(self) -> None:
        check_transfer()


class Stream:
    """A stream; work is done when it is launched."""

    def __init__(self, *, non_blocking: bool = False) -> None:
        self._captures = non_blocking

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def begin_capture(self) -> None:
        if not self._captures:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        begin_capture()

    def end_capture(self) -> SimpleNamespace:
        return SimpleNamespace(launch=end_capture())

    def record(self) -> Event:
        event = Event()
        event.record()
        return event

    def wait_event(self, event: Event) -> None:
        check_transfer()

    def synchronize(self) -> None:
        check_transfer()


class Event:
    """A point in time."""

    def record(self) -> None:
        self.time = time.perf_counter()

    def synchronize(self) -> None:
        check_transfer()


def namespace() -> SimpleNamespace:
    """Return what stands for cupy.cuda."""
    about = {"name": b"stand-in", "l2CacheSize": 1000}
    return SimpleNamespace(
        runtime=SimpleNamespace(
            getDevice=lambda: state().device,
            getDeviceCount=lambda: DEVICES,
            getDeviceProperties=lambda device: about,
            runtimeGetVersion=lambda: 12000,
            driverGetVersion=lambda: 12000,
            deviceGetPCIBusId=lambda device: f"0000:{device:02d}:00.0",
            memGetInfo=lambda: state().memory(),
        ),
        driver=SimpleNamespace(CUDADriverError=modules.CUDADriverError),
        memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        Device=Device,
        Stream=Stream,
        Event=Event,
        get_current_stream=Stream,
        get_elapsed_time=lambda begin, end: 1e3 * (end.time - begin.time),
        MemoryPool=lambda: SimpleNamespace(malloc=None),
        using_allocator=lambda malloc: nullcontext(),
    )
