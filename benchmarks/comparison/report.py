"""What was found as text; what is aimed at, and whether it was reached."""

from __future__ import annotations

from statistics import median

from common import table
from comparison.works import NAMES, ON_JAX, ON_TORCH, PEERS, SWEEPS, TRAINING

# How many times faster than the fastest of some peers; at every activity; how many times less memory than the leanest.
# Seconds and bytes of a step of one of cuslayer's forms.
_FASTER = (
    ("mlp8", ON_TORCH, 12.0),
    ("mlp8", ON_JAX, 6.0),
    ("mlp32", ON_TORCH, 12.0),
    ("mlp32", ON_JAX, 9.0),
    ("cnn8", ON_TORCH, 8.0),
    ("cnn8-initial", ON_TORCH, 4.0),
    ("recurrent32", ON_TORCH, 3.0),
    ("sequence64", PEERS, 4.0),
    ("field4", ON_TORCH, 2.0),
    ("field16", ON_TORCH, 2.5),
    ("residual", ON_TORCH, 2.0),
    ("spikformer", ("spikingjelly",), 1.5),
    ("gesture", ("snntorch",), 15.0),
)
_AT_EVERY_ACTIVITY = 4.0
_LEANER = {"mlp32": 3.0, "cnn8": 3.0, "field16": 1.0, "residual": 1.0}
_SECONDS = (
    ("dense256", "lif", 45e-3),
    ("dense256", "default", 45e-3),
    ("dense256", "adlif", 60e-3),
    ("gesture1200", "default", 0.4),
)
_BYTES = {"gesture1200": 0.8e9}
# The columns of the page's two tables: the works that are no sweep. The second has memory too.
HEADS = {
    "mlp8": "MLP, batch 8",
    "mlp32": "MLP, batch 32",
    "cnn8": "CNN, batch 8",
    "cnn8-initial": "CNN, busy",
    "recurrent32": "recurrent, batch 32",
    "sequence64": "784 steps, batch 64",
}
_FIELD = {
    "field4": "images, 4 steps",
    "field16": "images, 16 steps",
    "residual": "residual",
    "spikformer": "Spikformer",
    "dense256": "128-128-128-20",
    "dense256-busy": "128-128-128-20, busy",
    "gesture": "128 x 128, 300 steps",
    "gesture1200": "128 x 128, 1,200 steps",
}
TITLES = HEADS | _FIELD
# Seconds of a step of a stream, and of a recording's inference.
_STREAM, _INFERENCE = 100e-6, 3e-3


def aims(found: dict) -> list[dict]:
    """Return what is aimed at, what was found, and whether that is enough, for what was measured.

    Times are compared with the fastest form of the fastest peer, memory with the leanest form of the leanest peer, of
    those that were measured.
    """
    works, rows = found["works"], []

    def add(what: str, aim: str, is_found: str, met: bool) -> None:
        rows.append({"what": what, "aim": aim, "found": is_found, "met": met})

    for name, peers, factor in _FASTER:
        if ran := _compared(works, name, peers):
            best = min(ran, key=lambda r: r["times"])
            is_found = f"{best['times']:.1f} times ({NAMES[best['peer']]})"
            add(f"{TITLES[name]}: faster than {_on(peers)}", f"{factor:g} times", is_found, best["times"] >= factor)
    for sweep, (_, names) in SWEEPS.items():
        for peers in (ON_TORCH, ON_JAX):
            points = [(name, row) for name in names for row in _compared(works, name, peers)]
            if points:
                name, least = min(points, key=lambda point: point[1]["times"])
                what = f"{HEADS[sweep]}, at every activity: faster than {_on(peers)}"
                times = f"{least['times']:.1f} times ({NAMES[least['peer']]}, {_percent(name)} %)"
                add(what, f"{_AT_EVERY_ACTIVITY:g} times", times, least["times"] >= _AT_EVERY_ACTIVITY)
    for name, factor in _LEANER.items():
        ours, *ran = [row for row in works.get(name, {}).get("rows", ()) if "bytes" in row] or [{}]
        ran = [row for row in ran if row["peer"] != "ours"]
        if ran and ours["peer"] == "ours":
            leanest = min(ran, key=lambda r: r["bytes"])
            times = leanest["bytes"] / ours["bytes"]
            is_found = f"{times:.1f} times ({NAMES[leanest['peer']]})"
            add(f"{TITLES[name]}: less memory than the leanest", f"{factor:g} times", is_found, times >= factor)
    for name, form, most in _SECONDS:
        for row in works.get(name, {}).get("rows", ()):
            if (row["peer"], row["key"]) == ("ours", form):
                what = f"{TITLES[name]}: a training step, {row['form'].partition(',')[0]}"
                add(what, f"{1e3 * most:g} ms", f"{1e3 * row['step']:.0f} ms", row["step"] < most)
    for name, most in _BYTES.items():
        if size := works.get(name, {}).get("rows", [{}])[0].get("bytes"):
            add(f"{TITLES[name]}: peak memory", _megabytes(most), _megabytes(size), size < most)
    if "stream" in works:
        seconds = works["stream"]["seconds"]
        what = "MLP as a stream: a step of 1 ms, from events to output spikes"
        add(what, f"{1e6 * _STREAM:g} us", f"{1e6 * seconds:.1f} us", seconds < _STREAM)
    if "inference" in works:
        seconds = median(works["inference"]["seconds"])
        what = "MLP, a recording of 300 ms: from events to the class"
        add(what, f"{1e3 * _INFERENCE:g} ms", f"{1e3 * seconds:.2f} ms", seconds < _INFERENCE)
    return rows


def _on(peers: tuple[str, ...]) -> str:
    several = {ON_TORCH: "the fastest on PyTorch", ON_JAX: "the fastest on JAX", PEERS: "the fastest"}
    return several.get(peers) or NAMES[peers[0]]


def _megabytes(size: float) -> str:
    return f"{size / 1e6:,.0f} MB"


def _percent(name: str) -> str:
    """Return the activity of a work in %."""
    return f"{100 * (TRAINING[name].activity or 0):g}"


def _compared(works: dict, name: str, peers: tuple[str, ...]) -> list[dict]:
    """Return the rows of peers that were timed in a work."""
    return [row for row in works.get(name, {}).get("rows", ()) if row["peer"] in peers and "times" in row]


def timed(found: dict) -> list[dict]:
    """Return the rows of a work that have times, cuslayer's first."""
    return [row for row in found["rows"] if "step" in row]


def fastest(found: dict, peer: str) -> dict | None:
    """Return the row of a library's fastest form in a work, of cuslayer its first; None if it was not timed."""
    ran = [row for row in timed(found) if row["peer"] == peer]
    return min(ran, key=lambda row: row["step"], default=None) if peer != "ours" else ran[0]


def by_library(works: dict, heads: dict[str, str], memory: bool) -> list[str]:
    """Return the table of each library's fastest form on each work: ms, how many times cuslayer's, and peak memory."""
    names = {name: head for name, head in heads.items() if name in works}
    rows = []
    for peer in ("ours", *PEERS):
        cells = []
        for name in names:
            best = fastest(works[name], peer)
            cells.append(f"{1e3 * best['step']:,.0f}" if best else "-")
            cells[-1] += f" ({best['times']:.{int(memory)}f}x)" if best and "times" in best else ""
            if memory and best and "bytes" in best:
                cells[-1] += f", {_megabytes(best['bytes'])}"
        if set(cells) != {"-"}:
            rows.append([NAMES[peer], *cells])
    return table(["ms a step, peak memory" if memory else "ms a step", *names.values()], rows, 1) if names else []


def _fidelity(works: list[dict]) -> str:
    """Return how much gradients differ from the plain matrix path's, and how often the peers' layers fire."""
    ratios = [
        theirs / mine
        for found in works
        for row in timed(found)[1:]
        for theirs, mine in zip(row["rates"], found["rows"][0]["rates"], strict=True)
        if row["peer"] != "ours" and mine
    ]
    text = f"Gradients equal the plain matrix path's to {max(found['gradients']['error'] for found in works):.0e}."
    peers = f" The peers' layers fire {min(ratios):.2f} to {max(ratios):.2f} times as often." if ratios else ""
    return text + peers


def text(found: dict) -> list[str]:
    """Return all that was found, in Markdown; benchmarks/results/peers.json has every form and its parts."""
    works = found["works"]
    rows = [[row["what"], row["found"], row["aim"], "yes" if row["met"] else "no"] for row in aims(found)]
    runs = [work["run"] for work in works.values()]
    machines = {f"{m['processor']}, {m['cores']} cores, {m['system']}" for m in (run["machine"] for run in runs)}
    dates = sorted({run["date"] for run in runs})
    versions = {name: v for run in runs for name, v in run["versions"].items()}
    parts = [
        by_library(works, HEADS, False),
        by_library(works, _FIELD, True),
        [_fidelity([work for work in works.values() if "rows" in work])],
        table(["what", "found", "aim", "met"], rows, 4),
        [f"{'; '.join(sorted(machines))}; {' to '.join(dict.fromkeys((dates[0], dates[-1])))}."],
        ["Versions: " + ", ".join(f"{name} {v}" for name, v in sorted(versions.items())) + "."],
    ]
    return [line for part in parts if part for line in (*part, "")][:-1]
