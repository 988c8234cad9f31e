"""A search for inputs that reach code which no earlier input reached, with atheris."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

# Numba compiles their functions from the bytecode, which must be as it is.
_COMPILED = ["cuslayer.kernels", "cuslayer.data.fast_binning", "cuslayer.data.simulated_camera"]


def search(name: str, arguments: list[str]) -> int:
    """Search for inputs at which a reader fails; ends at the first, or never.

    Args:
        name: the reader.
        arguments: options of libFuzzer, such as -runs=100000 or -max_total_time=600, and a folder for inputs.
    """
    try:
        import atheris
    except ImportError:
        raise SystemExit("fuzz: --atheris needs the package atheris: pip install atheris") from None
    with atheris.instrument_imports(include=["cuslayer"], exclude=_COMPILED):
        from fuzzing.readers import readers
        from fuzzing.worker import judged, write_case

    every = readers()
    if name not in every:
        raise SystemExit(f"fuzz: --atheris must be one of {', '.join(every)}, got {name!r}")
    reader = every[name]
    folder = Path(tempfile.mkdtemp(prefix="cuslayer-fuzz"))
    files, seeds = folder / "files", folder / "seeds"
    files.mkdir()
    seeds.mkdir()
    reader.prepare(files)
    for number, content in enumerate([*reader.valid, *reader.hostile]):
        (seeds / str(number)).write_bytes(content)

    def one(raw: bytes) -> None:
        wrong = judged(reader, write_case(reader, files, raw))
        if wrong:
            raise RuntimeError(wrong)

    # What libFuzzer finds is written to the working folder; inputs that reach new code, to the first folder.
    folders = [] if any(not each.startswith("-") for each in arguments) else [str(folder / "found")]
    for each in folders:
        Path(each).mkdir()
    atheris.Setup([name, "-timeout=2", "-rss_limit_mb=2048", *arguments, *folders, str(seeds)], one)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(search(sys.argv[1], sys.argv[2:]))
