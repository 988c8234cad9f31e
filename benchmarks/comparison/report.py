"""What was found as text and as a chart; what is aimed at, and whether it was reached."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from common import table
from comparison.works import MEMORY, MLP, NAMES, ON_JAX, ON_TORCH, PEERS, SWEEPS, TRAINING, WORKS

# Okabe and Ito's colours, which people who do not see red or green tell apart, each with a mark of its own.
_LINES = {
    "ours": ("#000000", "o"),
    "lava": ("#999999", "v"),
    "spikingjelly": ("#e69f00", "s"),
    "snntorch": ("#56b4e9", "^"),
    "norse": ("#009e73", "D"),
    "eventprop": ("#f0e442", "P"),
    "sinabs": ("#0072b2", "X"),
    "spyx": ("#d55e00", "<"),
    "brainevent": ("#cc79a7", ">"),
}
# How many times faster than the fastest of some peers; at every activity; how many times less memory than the leanest.
_FASTER = (
    ("mlp8", ON_TORCH, 12.0),
    ("mlp8", ON_JAX, 6.0),
    ("mlp32", ON_TORCH, 12.0),
    ("mlp32", ON_JAX, 9.0),
    ("cnn8", ON_TORCH, 8.0),
    ("cnn8-initial", ON_TORCH, 4.0),
    ("recurrent32", ON_TORCH, 3.0),
    ("sequence64", PEERS, 4.0),
)
_AT_EVERY_ACTIVITY, _LEANER = 4.0, 3.0
# Seconds of a step of a stream, and of a recording's inference.
_STREAM, _INFERENCE = 100e-6, 3e-3


def aims(found: dict) -> list[dict]:
    """Return what is aimed at, what was found, and whether that is enough, for what was measured.

    Times are compared with the fastest form of the fastest peer, memory with the leanest form of the leanest peer, of
    those that were measured, which are named.
    """
    works, rows = found["works"], []

    def add(what: str, aim: str, is_found: str, met: bool) -> None:
        rows.append({"what": what, "aim": aim, "found": is_found, "met": met})

    for name, peers, factor in _FASTER:
        if ran := _compared(works, name, peers):
            best = min(ran, key=lambda r: r["times"])
            what = f"{TRAINING[name].title}: faster than {NAMES[best['peer']]}, {_best('fastest', ran)}"
            add(what, f"{factor:g} times", f"{best['times']:.1f} times", best["times"] >= factor)
    for title, names in SWEEPS.values():
        for peers in (ON_TORCH, ON_JAX):
            points = [(name, row) for name in names for row in _compared(works, name, peers)]
            if points:
                name, least = min(points, key=lambda point: point[1]["times"])
                percents = ", ".join(dict.fromkeys(_percent(n) for n, _ in points))
                what = f"{title}, {percents} % of steps: faster than {_best('fastest', [row for _, row in points])}"
                times = f"{least['times']:.1f} times, than {NAMES[least['peer']]} at {_percent(name)} %"
                add(what, f"{_AT_EVERY_ACTIVITY:g} times", times, least["times"] >= _AT_EVERY_ACTIVITY)
    for name in MEMORY:
        ours, *ran = [row for row in works.get(name, {}).get("rows", ()) if "bytes" in row] or [{}]
        ran = [row for row in ran if row["peer"] != "ours"]
        if ran and ours["peer"] == "ours":
            leanest = min(ran, key=lambda r: r["bytes"])
            peer, times = f"{NAMES[leanest['peer']]} ({leanest['form']})", leanest["bytes"] / ours["bytes"]
            what = f"{TRAINING[name].title}: less memory than {peer}, {_best('leanest', ran)}"
            add(what, f"{_LEANER:g} times", f"{times:.1f} times", times >= _LEANER)
    if "stream" in works:
        seconds = works["stream"]["seconds"]
        what = f"streaming inference, {MLP}, batch 1: a step of 1 ms, from events to output spikes"
        add(what, f"{1e6 * _STREAM:g} us", f"{1e6 * seconds:.1f} us", seconds < _STREAM)
    if "inference" in works:
        seconds = median(works["inference"]["seconds"])
        what = "inference, MLP, batch 1, from events to the class"
        add(what, f"{1e3 * _INFERENCE:g} ms", f"{1e3 * seconds:.2f} ms", seconds < _INFERENCE)
    return rows


def _percent(name: str) -> str:
    """Return the activity of a work in %."""
    return f"{100 * (TRAINING[name].activity or 0):g}"


def _compared(works: dict, name: str, peers: tuple[str, ...]) -> list[dict]:
    """Return the rows of peers that were timed in a work."""
    return [row for row in works.get(name, {}).get("rows", ()) if row["peer"] in peers and "times" in row]


def _best(word: str, rows: list[dict]) -> str:
    measured = [NAMES[peer] for peer in PEERS if peer in {r["peer"] for r in rows}]
    return f"the {word} of {', '.join(measured)}" if len(measured) > 1 else "the only peer measured"


def _timed(found: dict) -> list[dict]:
    """Return the rows of a work that have times, cuslayer's first."""
    return [row for row in found["rows"] if "step" in row]


def training(name: str, found: dict) -> list[str]:
    """Return the table of a work's times, and what was not run."""
    heads = ["library", "form", "ms a step", "forward", "backward", "optimizer", "of cuslayer's", "MB"]
    rows = []
    for row in _timed(found):
        times = f"{row['times']:.1f}x" if "times" in row else ""
        megabytes = f"{row['bytes'] / 1e6:.0f}" if "bytes" in row else ""
        parts = [f"{1e3 * row[part]:.1f}" for part in ("step", "forward", "backward", "optimizer")]
        rates = " ".join(f"{100 * rate:.1f}" for rate in row["rates"])
        rows.append([NAMES[row["peer"]], row["form"], *parts, times, megabytes, rates])
    head = f"**{TRAINING[name].title}**, a training step. {_fidelity([found])}"
    return [head, "", *table([*heads, "firing, % of steps"], rows, 2), *_not_run(found["rows"])]


def sweep(name: str, works: dict) -> list[str]:
    """Return the table of times over activities."""
    title, names = SWEEPS[name]
    there = {n: works[n] for n in names if n in works}
    forms = dict.fromkeys((row["peer"], row["form"]) for found in there.values() for row in _timed(found))
    rows = []
    for peer, form in forms:
        cells = []
        for found in there.values():
            row = next((r for r in _timed(found) if (r["peer"], r["form"]) == (peer, form)), {})
            cells.append(f"{1e3 * row['step']:.1f}" if row else "")
            cells[-1] += f" ({row['times']:.1f}x)" if "times" in row else ""
        rows.append([NAMES[peer], form, *cells])
    every = list(there.values())
    head = f"**{title}, by activity**, a training step in ms, and how many times cuslayer's. {_fidelity(every)}"
    gone = _not_run([row for found in every for row in found["rows"]])
    return [head, "", *table(["library", "form", *(f"{_percent(n)} %" for n in there)], rows, 2), *gone]


def _fidelity(works: list[dict]) -> str:
    """Return how much gradients differ from the plain matrix path's, and how often the peers' layers fire."""
    ratios = [
        theirs / mine
        for found in works
        for row in _timed(found)[1:]
        for theirs, mine in zip(row["rates"], found["rows"][0]["rates"], strict=True)
        if row["peer"] != "ours" and mine
    ]
    text = f"Gradients equal the plain matrix path's to {max(found['gradients']['error'] for found in works):.0e}."
    peers = f" The peers' layers fire {min(ratios):.2f} to {max(ratios):.2f} times as often." if ratios else ""
    return text + peers


def _not_run(rows: list[dict]) -> list[str]:
    gone = dict.fromkeys(f"- {NAMES[r['peer']]} ({r['form']}): not run: {r['problem']}" for r in rows if "problem" in r)
    return ["", *gone] if gone else []


def text(found: dict) -> list[str]:
    """Return all that was found, in Markdown."""
    works = found["works"]
    rows = [[row["what"], row["aim"], row["found"], "yes" if row["met"] else "no"] for row in aims(found)]
    parts = [table(["work", "aim", "found", "met"], rows, 4)] if rows else []
    in_sweeps = {each for _, names in SWEEPS.values() for each in names}
    parts += [training(name, works[name]) for name in TRAINING if name in works and name not in in_sweeps]
    parts += [sweep(name, works) for name, (_, names) in SWEEPS.items() if set(names) & set(works)]
    runs: dict[str, list[str]] = {}
    for name in (name for name in WORKS if name in works):
        run, machine = works[name]["run"], works[name]["run"]["machine"]
        where = f"{run['date']}, {machine['processor']}, {machine['cores']} cores, {machine['system']}"
        how = f"{run['recordings']}, T = {run['steps']}, {run['threads']} threads; `{run['command']}`"
        runs.setdefault(f"{where}; {how}", []).append(name)
    parts.append([f"- {', '.join(names)}: {run}" for run, names in runs.items()])
    versions = {name: v for work in works.values() for name, v in work["run"]["versions"].items()}
    parts.append(["Versions: " + ", ".join(f"{name} {v}" for name, v in sorted(versions.items())) + "."])
    return [line for part in parts for line in (*part, "")][:-1]


def chart(path: Path, found: dict) -> None:
    """Draw the times of steps over activities, of the fastest form of each library."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    sweeps = [(title, names) for title, names in SWEEPS.values() if set(names) & set(found["works"])]
    figure = Figure((6.5 * max(1, len(sweeps)), 5), layout="constrained")
    for number, (title, names) in enumerate(sweeps, 1):
        axes = figure.add_subplot(1, len(sweeps), number)
        there = {100 * (TRAINING[name].activity or 0): found["works"][name] for name in names if name in found["works"]}
        for peer, (colour, mark) in _LINES.items():
            points = [(x, [1e3 * r["step"] for r in _timed(work) if r["peer"] == peer]) for x, work in there.items()]
            if points := [(x, min(times)) for x, times in points if times]:
                width = 3 if peer == "ours" else 1.5
                axes.loglog(*zip(*points, strict=True), color=colour, marker=mark, linewidth=width, label=NAMES[peer])
        axes.set_xticks(list(there), [f"{percent:g}" for percent in there], minor=False)
        axes.set_xticks([], minor=True)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_minor_formatter("")
        axes.set_xlabel("activity, % of steps in which each input and neuron fires")
        axes.set_ylabel("ms a training step")
        axes.set_title(title, fontsize=11, loc="left")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)
