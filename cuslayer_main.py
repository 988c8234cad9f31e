"""The program `cuslayer`. It stands beside the package, whose import takes a while in which Ctrl-C must work, too."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def _leave(number: int, frame: FrameType | None) -> None:
    """End the process at once: an exception could be lost, or abort a library that is being imported."""
    unfinished = getattr(sys.modules.get("cuslayer.files"), "discard_unfinished", None)
    if unfinished is not None:
        unfinished()
    os.write(2, b"cuslayer: interrupted\n")
    os._exit(128 + number)


def main() -> int:
    """Run the command line; SIGINT and SIGTERM end it with the exit codes 130 and 143."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # A program that runs in the background may have been told to ignore SIGINT.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)
    from cuslayer.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
