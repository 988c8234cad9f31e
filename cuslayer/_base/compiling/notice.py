"""A notice that kernels are compiled: after one second, a bar on a terminal and in a notebook, elsewhere one line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock, Timer
from time import monotonic
from typing import Any

from numba.core import event

from cuslayer._base.compiling.compilers import kernels_left

_TEXT = "compiling CPU kernels (once)"
# Seconds of compilation without a word, and seconds without compilation after which the bar goes.
_QUIET = 1.0
_IDLE = 0.3


class _Notice:
    """Counts the kernels that this process compiles, and says so after a while."""

    def __init__(self) -> None:
        self.lock = RLock()
        self.depth = 0
        self.count = 0
        self.seconds = 0.0
        self.since = 0.0
        self.timer: Timer | None = None
        self.bar: Any = None
        self.line_said = False

    def begin(self) -> None:
        """Note that this process begins to compile a kernel, or to wait for one."""
        with self.lock:
            self.depth += 1
            if self.depth == 1:
                self.since = monotonic()
                self._later(max(_QUIET - self.seconds, 0.0), self._show)

    def end(self, compiled: int = 1) -> None:
        """Note the end of it; `compiled` is the number of kernels, in which others are inlined."""
        with self.lock:
            self.depth -= 1
            if self.depth == 0:
                self.count += compiled
                self.seconds += monotonic() - self.since
                self._later(_IDLE, self._close)

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        """Call an action after some seconds, in place of the one before it."""
        if self.timer is not None:
            self.timer.cancel()
        self.timer = Timer(seconds, action)
        self.timer.daemon = True
        self.timer.start()

    def _show(self) -> None:
        with self.lock:
            if self.depth == 0 or sys.stderr is None:
                return
            if sys.stderr.isatty() or type(sys.stderr).__module__.startswith("ipykernel"):
                self._draw()
            elif not self.line_said:
                self.line_said = True
                sys.stderr.write(f"{_TEXT}\n")

    def _draw(self) -> None:
        from tqdm import tqdm

        if self.bar is None:
            self.bar = tqdm(desc=_TEXT, unit=" kernels", leave=False, file=sys.stderr)
        self.bar.n = self.count
        self.bar.total = self.count + 1 + kernels_left()
        self.bar.refresh()

    def _close(self) -> None:
        with self.lock:
            if self.depth == 0 and self.bar is not None:
                self.bar.close()
                self.bar = None


_notice = _Notice()


@contextmanager
def waiting() -> Iterator[None]:
    """Show the notice while this process waits for a kernel within the block."""
    _notice.begin()
    try:
        yield
    finally:
        _notice.end(compiled=0)


class _Compilations(event.Listener):
    """Shows the notice while this process compiles a kernel of the package; cached kernels are not compiled."""

    def on_start(self, event: Any) -> None:
        """Begin with a kernel."""
        if _is_kernel(event):
            _notice.begin()

    def on_end(self, event: Any) -> None:
        """End with it."""
        if _is_kernel(event):
            _notice.end()


def _is_kernel(event: Any) -> bool:
    kernel = (event.data or {}).get("dispatcher")
    return kernel is not None and kernel.py_func.__module__.startswith("cuslayer.")


event.register("numba:compile", _Compilations())  # type: ignore[no-untyped-call]
