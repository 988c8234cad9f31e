"""Time writing and reading event files, and measure the memory that reading needs besides the events.

python benchmarks/event_files.py --events 10000000 --folder /tmp
"""

from __future__ import annotations

import argparse
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np

from cuslayer.data import Events, read_events, write_events

SUFFIXES = [".bs2", ".bs3", ".npy", ".h5", ".aedat"]
# Bytes of an event in memory: t, x, y, p.
BYTES = 32


def measure(path, events, repeats):
    """Return millions of events a second, written and read, and the peak memory of reading in bytes an event."""
    start = time.perf_counter()
    write_events(path, events)
    written = time.perf_counter() - start
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        read_events(path)
        best = min(best, time.perf_counter() - start)
    tracemalloc.start()
    read_events(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    n = len(events)
    return n / written / 1e6, n / best / 1e6, peak / n


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", help="where the files are made and removed again")
    options = parser.parse_args(arguments)
    n, r = options.events, np.random.default_rng(0)
    us, x, y = np.sort(r.integers(0, 2**23, n)), *r.integers(0, 256, (2, n))
    events = Events(us / 1000, x, y, r.integers(0, 2, n))
    del us, x, y
    print(f"{n:,} events; read, the best of {options.repeats}; an event in memory is {BYTES} bytes")
    print("suffix    bytes/event   write M/s   read M/s   peak bytes/event")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for suffix in SUFFIXES:
            path = Path(folder) / f"events{suffix}"
            write, read, peak = measure(path, events, options.repeats)
            print(f"{suffix:<9} {path.stat().st_size / n:11.1f} {write:11.3g} {read:10.3g} {peak:18.1f}")
            path.unlink()


if __name__ == "__main__":
    main()
