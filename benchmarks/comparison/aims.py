"""What is aimed at, and whether it was reached."""

from __future__ import annotations

from statistics import median

from comparison.works import MEMORY, MLP, NAMES, ON_JAX, ON_TORCH, PEERS, SWEEPS, TRAINING

# How many times faster than the fastest of some peers; how many times less memory than the leanest.
_FASTER = (
    ("mlp8", ON_TORCH, 12.0),
    ("mlp8", ON_JAX, 6.0),
    ("mlp32", ON_TORCH, 12.0),
    ("mlp32", ON_JAX, 9.0),
    ("cnn8", ON_TORCH, 8.0),
    ("cnn8-initial", ON_TORCH, 4.0),
    ("recurrent32", ON_TORCH, 3.0),
)
_AT_EVERY_ACTIVITY = (("mlp8", ON_TORCH, 4.0), ("mlp8", ON_JAX, 4.0), ("cnn8", ON_TORCH, 4.0), ("cnn8", ON_JAX, 4.0))
_LEANER = 3.0
# The most of an exponent of scaling.py; seconds of a recording's inference, of a step of a stream, of loading a batch.
_GROWTH, _INFERENCE, _STREAM, _LOADING = 1.0, 3e-3, 100e-6, 10e-3


def aims(found: dict) -> list[dict]:
    """Return what is aimed at, what was found, and whether that is enough, for what was measured.

    Times are compared with the fastest form of the fastest peer, memory with the leanest form of the leanest peer, of
    those that were measured, which are named.
    """
    works = found["works"]
    return [
        *_faster(works),
        *_at_every_activity(works),
        *_leaner(works),
        *_growth(found.get("scaling", {})),
        *_ours_alone(works),
    ]


def _faster(works: dict) -> list[dict]:
    rows = []
    for name, peers, factor in _FASTER:
        ran = _compared(works, name, peers)
        if ran:
            best = min(ran, key=lambda r: r["times"])
            what = f"{TRAINING[name].title}: faster than {NAMES[best['peer']]}, {_best('fastest', ran)}"
            rows.append(_row(what, f"{factor:g} times", f"{best['times']:.1f} times", best["times"] >= factor))
    return rows


def _at_every_activity(works: dict) -> list[dict]:
    rows = []
    for sweep, peers, factor in _AT_EVERY_ACTIVITY:
        title, names = SWEEPS[sweep]
        points = [(name, row) for name in names for row in _compared(works, name, peers)]
        if points:
            name, least = min(points, key=lambda point: point[1]["times"])
            ran = list(dict.fromkeys(n for n, _ in points))
            percents = ", ".join(f"{100 * TRAINING[n].activity:g}" for n in ran)  # type: ignore[operator]
            what = f"{title}, {percents} % of steps: faster than {_best('fastest', [row for _, row in points])}"
            at = f"{least['times']:.1f} times, than {NAMES[least['peer']]} at {100 * TRAINING[name].activity:g} %"  # type: ignore[operator]
            rows.append(_row(what, f"{factor:g} times", at, least["times"] >= factor))
    return rows


def _leaner(works: dict) -> list[dict]:
    rows = []
    for name in MEMORY:
        found = [row for row in works.get(name, {}).get("rows", ()) if "bytes" in row]
        ran = [row for row in found if row["peer"] != "ours"]
        if ran and found[0]["peer"] == "ours":
            leanest = min(ran, key=lambda r: r["bytes"])
            what = f"{TRAINING[name].title}: less memory than {NAMES[leanest['peer']]} ({leanest['form']})"
            times = leanest["bytes"] / found[0]["bytes"]
            what += f", {_best('leanest', ran)}"
            rows.append(_row(what, f"{_LEANER:g} times", f"{times:.1f} times", times >= _LEANER))
    return rows


def _growth(scaling: dict) -> list[dict]:
    rows = []
    for name, label in (("T", "time steps"), ("batch", "batch")):
        if name in scaling:
            sizes, exponent = scaling[name]["sizes"], scaling[name]["exponent_of_seconds"]
            what = f"growth of a step's time with the {label}, {sizes[0]} to {sizes[-1]}: exponent in the upper half"
            rows.append(_row(what, f"{_GROWTH:.1f}", f"{exponent:.2f}", round(exponent, 2) <= _GROWTH))
    return rows


def _ours_alone(works: dict) -> list[dict]:
    rows = []
    if "stream" in works:
        seconds = works["stream"]["seconds"]
        what = f"streaming inference, {MLP}, batch 1: a step of 1 ms, from events to output spikes"
        rows.append(_row(what, f"{1e6 * _STREAM:g} us", f"{1e6 * seconds:.1f} us", seconds < _STREAM))
    if "inference" in works:
        seconds = median(works["inference"]["seconds"])
        what = "inference, MLP, batch 1, from events to the class"
        rows.append(_row(what, f"{1e3 * _INFERENCE:g} ms", f"{1e3 * seconds:.2f} ms", seconds < _INFERENCE))
    if "loading" in works:
        loading = {name: median(values) for name, values in works["loading"]["seconds"].items()}
        what = f"loading, from files to a batch of {works['loading']['batch']}"
        seconds = loading["batch"]
        rows.append(_row(what, f"{1e3 * _LOADING:g} ms", f"{1e3 * seconds:.2f} ms", seconds < _LOADING))
        extra, half = loading["step_from_loader"] - loading["step_from_memory"], seconds / 2
        what = f"loading in the background: added to a step of {1e3 * loading['step_from_memory']:.1f} ms"
        rows.append(_row(what, f"{1e3 * half:.1f} ms", f"{1e3 * extra:.2f} ms", extra < half))
    return rows


def _compared(works: dict, name: str, peers: tuple[str, ...]) -> list[dict]:
    """Return the rows of peers that were timed in a work."""
    return [row for row in works.get(name, {}).get("rows", ()) if row["peer"] in peers and "times" in row]


def _best(word: str, rows: list[dict]) -> str:
    measured = [NAMES[peer] for peer in PEERS if peer in {r["peer"] for r in rows}]
    return f"the {word} of {', '.join(measured)}" if len(measured) > 1 else "the only peer measured"


def _row(what: str, aim: str, found: str, met: bool) -> dict:
    return {"what": what, "aim": aim, "found": found, "met": met}
