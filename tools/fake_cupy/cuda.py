"""The part of cupy.cuda that the library uses."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tools.fake_cupy import memory, modules, streams
from tools.fake_cupy.state import state

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
        streams.synchronize(self.id)


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
        memory=SimpleNamespace(OutOfMemoryError=memory.OutOfMemoryError),
        Device=Device,
        Stream=streams.Stream,
        Event=streams.Event,
        Graph=streams.Graph,
        get_current_stream=streams.current,
        get_elapsed_time=lambda begin, end: 1e3 * (end.time - begin.time),
        Memory=memory.Memory,
        MemoryPointer=memory.MemoryPointer,
        MemoryPool=memory.Pool,
        using_allocator=memory.using_allocator,
    )
