"""The GPU in use: what it is, the time of work on it, and CUDA graphs of work."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

from cuslayer import backend

Work = Callable[[], Any]

# What nvidia-smi is asked for, and the names under which the answers are saved.
_ASKED = {"driver_version": "driver", "clocks.sm": "clock_mhz", "clocks.mem": "memory_clock_mhz"}
_REPEATS, _SECONDS = 5, 0.02


class Cuda:
    """The GPU in use, through CuPy.

    Attributes:
        name: its name.
        l2: the bytes of its L2 cache.
    """

    def __init__(self) -> None:
        self._cupy = cupy = backend.cupy()
        about = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
        self.name: str = about["name"].decode()
        self.l2: int = about["l2CacheSize"]

    def describe(self) -> dict[str, Any]:
        """Return the card, the versions of driver, CUDA and CuPy, and the clocks as they are now, where known."""
        runtime = self._cupy.cuda.runtime
        found = {"card": self.name, "cupy": self._cupy.__version__, "cuda": _version(runtime.runtimeGetVersion())}
        # Without nvidia-smi, the highest version of CUDA that the driver knows.
        found["driver"] = f"of CUDA {_version(runtime.driverGetVersion())}"
        return found | _asked(runtime.deviceGetPCIBusId(self._cupy.cuda.Device().id))

    def mark(self) -> Any:
        """Return an event: the time at which the work so far is done."""
        event = self._cupy.cuda.Event()
        event.record()
        return event

    def between(self, begin: Any, end: Any) -> float:
        """Return the seconds between two events of `mark`, after the second has happened."""
        end.synchronize()
        return self._cupy.cuda.get_elapsed_time(begin, end) / 1e3

    def seconds(self, work: Work) -> float:
        """Return the seconds of some work after a first call: the least of five times, each of about 20 ms of work."""

        def measured(times: int) -> float:
            begin = self.mark()
            for _ in range(times):
                work()
            return self.between(begin, self.mark()) / times

        measured(2)
        times = max(1, min(1000, round(_SECONDS / max(measured(1), 1e-6))))
        return min(measured(times) for _ in range(_REPEATS))

    def graph(self, work: Work) -> Work:
        """Return a function that launches a CUDA graph of some work, which has run before."""
        self._cupy.cuda.Device().synchronize()
        stream = self._cupy.cuda.Stream(non_blocking=True)
        with stream:
            stream.begin_capture()
            try:
                work()
            finally:
                # A stream in an unfinished capture accepts no other work.
                graph = stream.end_capture()
        launch: Work = graph.launch
        return launch


def _version(number: int) -> str:
    """Return a version of CUDA, such as 12090, as text."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _asked(bus: str) -> dict[str, Any]:
    """Return what nvidia-smi says of the card at a PCI address; nothing where there is no nvidia-smi."""
    command = ["nvidia-smi", f"--query-gpu={','.join(_ASKED)}", "--format=csv,noheader,nounits", "-i", bus]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    answers = dict(zip(_ASKED.values(), (part.strip() for part in said.split(",")), strict=False))
    return {name: int(text) if text.isdigit() else text for name, text in answers.items() if text[:1] != "["}
