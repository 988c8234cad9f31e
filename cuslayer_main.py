"""The program `cuslayer`. It stands beside the package, whose import takes a while in which Ctrl-C must work, too."""

# PYTHON_ARGCOMPLETE_OK
# The module of the interpreter itself: `signal` imports others, and until they are there Ctrl-C would be a traceback.
import _signal
import os
import sys


def _leave(number: int, frame: object) -> None:
    """End the process at once: an exception could be lost, or abort a library that is being imported."""
    unfinished = getattr(sys.modules.get("cuslayer._base.files"), "discard_unfinished", None)
    if unfinished is not None:
        unfinished()
    os.write(2, b"cuslayer: interrupted\n")
    os._exit(128 + number)


def main() -> int:
    """Run the command line; SIGINT and SIGTERM end it with the exit codes 130 and 143."""
    for number in (_signal.SIGINT, _signal.SIGTERM):
        # A program that runs in the background may have been told to ignore SIGINT.
        if _signal.getsignal(number) != _signal.SIG_IGN:
            _signal.signal(number, _leave)
    try:
        from cuslayer.cli import main as run
    except Exception as problem:  # a library that is missing or damaged
        if os.environ.get("CUSLAYER_TRACEBACK"):
            raise
        said = " ".join(f"{type(problem).__name__}: {problem}".split())
        os.write(2, f"cuslayer: the installation is not complete ({said}); install it anew\n".encode())
        return 2
    code = run()
    # The results are there. The end of the interpreter would put back the handlers of the system.
    for number in (_signal.SIGINT, _signal.SIGTERM):
        if _signal.getsignal(number) is _leave:
            _signal.signal(number, _signal.SIG_IGN)
    return code


if __name__ == "__main__":
    sys.exit(main())
