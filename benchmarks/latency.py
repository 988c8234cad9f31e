"""Measure how long a user waits, and compare each time with a limit.

    python benchmarks/latency.py                       # all of it: two minutes
    python benchmarks/latency.py --only explain launch --repeats 20

Each is timed several times and the smallest time counts, since other work on the machine only adds to a time. Prints a
table, and exits with 1 where a limit is exceeded. What cannot be measured on this machine, such as the page of a report
without Chromium, is left out with the reason.

| name | what |
| --- | --- |
| import | `import cuslayer` in a new process, after NumPy |
| explain | `explain` of one neuron of the MLP 34x34x2-512-10 at 300 steps |
| launch | finding a CUDA kernel and binding its arguments, for the slowest of some kernels, without running it |
| stream | a step of the MLP 34x34x2-512-10 for one recording, from events to output spikes |
| stream-cnn | a step of the CNN 34x34x2-16c5-2a-32c3-2a-64c3-10 in the same way; the limit is its step of 1 ms |
| read | reading a million events of a `.bs2` file |
| page | opening the report of a network with over a million spikes, until everything is drawn |
| notebooks | running the slowest of the examples' notebooks |
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import timeit
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeAlias

import numpy as np

import cuslayer as cs
from cuslayer.kernels import gpu
from cuslayer.kernels.constants import Alpha, Spiking
from cuslayer.kernels.cuda import compile as source

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "examples" / "notebooks"
DRAWN = "performance.getEntriesByName('drawn')[0].startTime"
SINGLE = np.dtype(np.float32)
CNN = "34x34x2-16c5-2a-32c3-2a-64c3-10"

# The number of threads of a launch, and the kernel's arguments by name.
Launched: TypeAlias = "tuple[int, dict[str, Any]]"

sys.path.append(str(ROOT / "tests"))


class Missing(Exception):
    """Something that a measurement needs is missing on this machine."""


class Still:
    """A driver whose kernels do nothing."""

    def array_type(self) -> type:
        return np.ndarray

    def device(self) -> int:
        return 0

    def device_of(self, x: Any) -> int:
        return 0

    def shared_bytes(self) -> int:
        return 48 << 10

    def build(self, text: str, names: Iterable[str]) -> Mapping[str, source.Launch]:
        return {name: lambda grid, block, arguments, shared_mem=0: None for name in names}


def least(work: Callable[[], Any], repeats: int) -> float:
    return min(timeit.repeat(work, number=1, repeat=repeats))


def imported(repeats: int) -> float:
    code = "import time, numpy; start = time.perf_counter(); import cuslayer; print(time.perf_counter() - start)"
    return min(float(python(code)) for _ in range(repeats))


def python(code: str, *arguments: str) -> str:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True).stdout


def explained(repeats: int) -> float:
    net = cs.Sequential(cs.Dense((34, 34, 2), 512), cs.SRM(), cs.Dense(512, 10), cs.SRM())
    x = np.random.default_rng(0).random((300, 1, 34, 34, 2)) < 0.01
    cs.explain(net, x, 1, 7, 200)
    return least(lambda: cs.explain(net, x, 1, 7, 200), repeats)


@contextmanager
def library(stand_in: Any) -> Iterator[None]:
    """Replace the library of kernels within a block."""
    own, source.library = source.library, stand_in
    try:
        yield
    finally:
        source.library = own


def launches(rate: float) -> dict[str, Launched]:
    """Return the arguments of each launch, by the kernel's name: of the responses, the neurons and the optimizers."""
    launched: dict[str, Launched] = {}

    def kept(name: str, dtype: Any) -> Callable[..., None]:
        return lambda threads, **arguments: launched.update({name: (threads, arguments)})

    keep = SimpleNamespace(kernel=kept)
    x = np.zeros((300, 4), np.float32)
    response, spiking = Alpha(1, 10, 1, 0.01), Spiking(10.0, Alpha(-20, 1, 1, 0.01), 10.0, 0.1)
    with library(keep):
        gpu.response.psp(x, response)
        gpu.srm.neuron(x, response, spiking)
        gpu.srm.neuron_adjoint(x, x, response, spiking)
        gpu.optim.sgd(x, x, x, rate, 0.9, 0.0)
        gpu.optim.adam(
            x, x, x, x, x, betas=(0.9, 0.999), rate_m=rate, rate_g=0.0, scale_v=1 + rate, eps=1e-8, decay=0.0
        )
    return launched


def launched(repeats: int) -> float:
    still = source.Library(Still())

    def both(name: str, steps: Sequence[Launched]) -> None:
        for threads, arguments in steps:
            still.kernel(name, SINGLE)(threads, **arguments)

    first, then = launches(0.01), launches(0.02)
    slowest = 0.0
    for name in first:
        steps = first[name], then[name]
        both(name, steps)
        times = timeit.repeat(lambda: both(name, steps), number=100, repeat=20 * repeats)  # noqa: B023
        slowest = max(slowest, min(times) / 200)
    return slowest


def streamed(repeats: int, notation: str = "34x34x2-512-10") -> float:
    net, steps = cs.Network(notation, cs.SRM()), 300
    frame, stream = np.zeros((1, 34, 34, 2), bool), net.stream()
    rng = np.random.default_rng(0)
    events = [tuple(rng.integers(0, side, 14) for side in (34, 34, 2)) for _ in range(steps)]

    def run() -> None:
        for y, x, p in events:
            frame[0, y, x, p] = True
            stream.step(frame)
            frame[0, y, x, p] = False

    run()
    return least(run, repeats) / steps


def read(repeats: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.bs2"
        path.write_bytes(bytes(5_000_000))
        return least(lambda: cs.read_events(path), repeats)


def opened(repeats: int) -> float:
    from tests.support import browser

    if browser.find() is None:
        raise Missing("no Chromium")
    net = cs.Network("2000-1000-10", cs.SRM())
    x = np.random.default_rng(0).random((1000, 1, 2000)) < 0.6
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        page = cs.report(net, x, Path(folder) / "million.html")
        with browser.Browser(Path(folder) / "profile") as there:
            times = []
            for _ in range(repeats):
                there.open(page)
                times.append(there.run(DRAWN) / 1000)
    return min(times)


RUN = """
import json, sys, time
import matplotlib; matplotlib.use("Agg")
start = time.perf_counter()
space = {"__name__": "__main__"}
for cell in json.load(open(sys.argv[1], encoding="utf-8"))["cells"]:
    if cell["cell_type"] == "code":
        exec("".join(cell["source"]), space)
print(time.perf_counter() - start)
"""


def notebooks(repeats: int) -> float:
    paths = sorted(NOTEBOOKS.glob("*.ipynb"))
    if not paths or find_spec("matplotlib") is None:
        raise Missing("no notebooks" if not paths else "no matplotlib")
    return max(min(float(python(RUN, str(path)).split()[-1]) for _ in range(repeats)) for path in paths)


class Bar(NamedTuple):
    """A description, a limit in seconds, a measurement, and its default number of repetitions."""

    what: str
    seconds: float
    measure: Callable[[int], float]
    repeats: int


BARS = {
    "import": Bar("import cuslayer", 1.0, imported, 3),
    "explain": Bar("explain, MLP at 300 steps", 50e-3, explained, 10),
    "launch": Bar("launch of a CUDA kernel", 5e-6, launched, 3),
    "stream": Bar("step of a stream, MLP", 100e-6, streamed, 5),
    "stream-cnn": Bar("step of a stream, CNN", 1e-3, partial(streamed, notation=CNN), 5),
    "read": Bar("read a million events", 50e-3, read, 5),
    "page": Bar("page of a million spikes", 3.0, opened, 3),
    "notebooks": Bar("slowest notebook", 60.0, notebooks, 1),
}


def text(seconds: float) -> str:
    """Return a time with a suitable unit.

    >>> text(4.23e-6), text(0.05), text(60.0)
    ('4.23 us', '50 ms', '60 s')
    """
    unit, factor = next((u, f) for u, f in (("s", 1), ("ms", 1e3), ("us", 1e6)) if seconds * f >= 1 or u == "us")
    return f"{seconds * factor:.3g} {unit}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=BARS, default=list(BARS))
    parser.add_argument("--repeats", type=int, help="how often each is timed; by default more often for short times")
    parser.add_argument("--out", type=Path, help="a JSON file for the seconds")
    options = parser.parse_args(arguments)
    found: dict[str, float] = {}
    print(f"{'what':<28}{'bar':>10}{'measured':>12}  met")
    for name in options.only:
        bar = BARS[name]
        try:
            found[name] = bar.measure(options.repeats or bar.repeats)
        except Missing as lack:
            print(f"{bar.what:<28}{text(bar.seconds):>10}{'-':>12}  {lack}")
            continue
        met = "yes" if found[name] < bar.seconds else "no"
        print(f"{bar.what:<28}{text(bar.seconds):>10}{text(found[name]):>12}  {met}", flush=True)
    if options.out:
        options.out.write_text(json.dumps(found, indent=2) + "\n")
    return int(any(seconds >= BARS[name].seconds for name, seconds in found.items()))


if __name__ == "__main__":
    sys.exit(main())
