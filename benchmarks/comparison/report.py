"""What was found as text and as a chart; what is aimed at, and whether it was reached."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from page import table

from comparison.works import LEFT_OUT, MEMORY, MLP, NAMES, ON_JAX, ON_TORCH, PEERS, SLOW, SWEEPS, TRAINING, WORKS

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
# Seconds of a recording's inference, and of a step of a stream.
_INFERENCE, _STREAM = 3e-3, 100e-6


def aims(found: dict) -> list[dict]:
    """Return what is aimed at, what was found, and whether that is enough, for what was measured.

    Times are compared with the fastest form of the fastest peer, memory with the leanest form of the leanest peer, of
    those that were measured, which are named.
    """
    works = found["works"]
    return [*_faster(works), *_at_every_activity(works), *_leaner(works), *_ours_alone(works)]


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
    return rows


def _compared(works: dict, name: str, peers: tuple[str, ...]) -> list[dict]:
    """Return the rows of peers that were timed in a work."""
    return [row for row in works.get(name, {}).get("rows", ()) if row["peer"] in peers and "times" in row]


def _best(word: str, rows: list[dict]) -> str:
    measured = [NAMES[peer] for peer in PEERS if peer in {r["peer"] for r in rows}]
    return f"the {word} of {', '.join(measured)}" if len(measured) > 1 else "the only peer measured"


def _row(what: str, aim: str, found: str, met: bool) -> dict:
    return {"what": what, "aim": aim, "found": found, "met": met}


def training(name: str, found: dict) -> list[str]:
    """Return the table of a work's times, and what was not run."""
    heads = ["library", "form", "ms a step", "forward", "backward", "optimizer", "of cuslayer's", "firing, % of steps"]
    rows = []
    for row in timed(found):
        times = f"{row['times']:.1f}x" if "times" in row else ""
        parts = [f"{1e3 * row[part]:.1f}" for part in ("step", "forward", "backward", "optimizer")]
        rates = " ".join(f"{100 * rate:.1f}" for rate in row["rates"])
        rows.append([NAMES[row["peer"]], row["form"], *parts, times, rates])
    return [
        f"**{TRAINING[name].title}**, a training step. {gradients([found])}{rounds([found])}",
        "",
        *table(heads, rows, 2),
        *_not_run(found["rows"]),
    ]


def sweep(name: str, works: dict) -> list[str]:
    """Return the table of times over activities."""
    title, names = SWEEPS[name]
    there = {n: works[n] for n in names if n in works}
    if not there:
        return []
    forms = dict.fromkeys((row["peer"], row["form"]) for found in there.values() for row in timed(found))
    rows = []
    for peer, form in forms:
        cells = []
        for found in there.values():
            row = next((r for r in timed(found) if (r["peer"], r["form"]) == (peer, form)), None)
            cells.append(
                f"{1e3 * row['step']:.1f}" + (f" ({row['times']:.1f}x)" if "times" in row else "") if row else ""
            )
        rows.append([NAMES[peer], form, *cells])
    heads = [f"{100 * (TRAINING[n].activity or 0):g} %" for n in there]
    every = list(there.values())
    return [
        f"**{title}, by activity**, a training step in ms, and how many times cuslayer's."
        f" {gradients(every)}{rounds(every)} {activity(there)}{slow(name, works)}",
        "",
        *table(["library", "form", *heads], rows, 2),
        *_not_run([row for found in every for row in found["rows"]]),
    ]


def timed(found: dict) -> list[dict]:
    """Return the rows of a work that have times, cuslayer's first."""
    return [row for row in found["rows"] if "step" in row]


def gradients(works: list[dict]) -> str:
    """Return how much the gradients of works differ from the plain matrix path's."""
    checks = [found["gradients"] for found in works]
    said = f"Gradients equal those of the plain matrix path to {max(check['error'] for check in checks):.0e}"
    dtypes = " and ".join(sorted({check["dtype"] for check in checks}))
    default = max(check.get("default", 0.0) for check in checks)
    apart = f"; with potentials kept as by default, to {default:.0e}" if default > 1e-5 else ""
    return f"{said} ({dtypes}){apart}."


def rounds(works: list[dict]) -> str:
    """Return of how many steps the times are medians, and whose steps were so long that they were timed once."""
    rows = [row for found in works for row in timed(found)[1:]]
    counts = sorted({len(row["seconds"]) for row in rows if len(row["seconds"]) > 1})
    once = list(dict.fromkeys(NAMES[row["peer"]] for row in rows if len(row["seconds"]) == 1))
    said = f" Medians of {' to '.join(map(str, dict.fromkeys((counts[0], counts[-1]))))} steps." if counts else ""
    return said + (f" A step of {' and '.join(once)} was timed once." if once else "")


def activity(there: dict) -> str:
    """Return how near the layers come to the activity."""
    ratios = [rate / (TRAINING[n].activity or 1) for n, found in there.items() for rate in found["rows"][0]["rates"]]
    near, peers = f"{min(ratios):.2f} to {max(ratios):.2f}", fidelity(there)
    said = f"Random spikes; cuslayer's layers, pooling too, fire {near} times as often as the input"
    return f"{said}, the peers' layers {peers} times as often as cuslayer's." if peers else f"{said}."


def fidelity(there: dict) -> str:
    """Return how many times as often the peers' layers fire as cuslayer's, the least and the most."""
    ratios = [
        theirs / mine
        for found in there.values()
        for row in timed(found)[1:]
        for theirs, mine in zip(row["rates"], found["rows"][0]["rates"], strict=True)
        if row["peer"] != "ours" and mine
    ]
    return f"{min(ratios):.2f} to {max(ratios):.2f}" if ratios else ""


def slow(name: str, works: dict) -> str:
    """Return how the times of libraries differ that were measured at the trained and the greatest activity alone."""
    said = []
    for peer in SLOW:
        steps = {
            n: r["step"] for n in (name, *SWEEPS[name][1]) if n in works for r in timed(works[n]) if r["peer"] == peer
        }
        if set(steps) == {name, SWEEPS[name][1][-1]}:
            one, other = steps.values()
            apart = 100 * abs(one - other) / min(one, other)
            said.append(f" {NAMES[peer]} takes as long as at the trained activity within {apart:.0f} %.")
    return "".join(said)


def memory(name: str, found: dict) -> list[str]:
    """Return the table of the peaks of memory in a work, the leanest first."""
    rows = [row for row in timed(found) if "bytes" in row]
    if not rows:
        return []
    ours = rows[0]["bytes"]
    cells = [
        [NAMES[row["peer"]], row["form"], f"{row['bytes'] / 1e6:.0f}", f"{row['bytes'] / ours:.1f}x"]
        for row in sorted(rows, key=lambda row: row["bytes"])
    ]
    head = f"**{TRAINING[name].title}**, peak memory of the training steps above the imports."
    return [head, "", *table(["library", "form", "MB", "of cuslayer's"], cells, 2)]


def _not_run(rows: list[dict]) -> list[str]:
    gone = dict.fromkeys(f"- {NAMES[r['peer']]} ({r['form']}): not run: {r['problem']}" for r in rows if "problem" in r)
    return ["", *gone] if gone else []


def rates(works: dict) -> list[str]:
    """Return how near the firing rates of the peers are to cuslayer's in the works on recordings."""
    there = {name: work.title for name, work in TRAINING.items() if name in works and work.activity is None}
    ratios = {title: fidelity({name: works[name]}) for name, title in there.items()}
    lines = [f"- {title}: {near}" for title, near in ratios.items() if near]
    return ["How many times as often as cuslayer's layers those of the peers fire:", "", *lines, ""] if lines else []


def text(found: dict) -> list[str]:
    """Return all that was found, in Markdown."""
    works = found["works"]
    rows = [[row["what"], row["aim"], row["found"], "yes" if row["met"] else "no"] for row in aims(found)]
    lines = [*table(["work", "aim", "found", "met"], rows, 4), ""] if rows else []
    for name in TRAINING:
        if name in works and not TRAINING[name].of_sweep:
            lines += [*training(name, works[name]), ""]
    for parts in ([sweep(name, works) for name in SWEEPS], [memory(n, works[n]) for n in MEMORY if n in works]):
        lines += [line for part in parts if part for line in (*part, "")]
    lines += rates(works)
    if LEFT_OUT:
        lines += ["Not compared:", "", *(f"- {name}: {reason}" for name, reason in LEFT_OUT.items()), ""]
    runs: dict[str, list[str]] = {}
    for name in WORKS:
        if name in works:
            runs.setdefault(run(**works[name]["run"]), []).append(name)
    lines += [f"- {', '.join(names)}: {said}" for said, names in runs.items()]
    versions = {name: v for work in works.values() for name, v in work["run"]["versions"].items()}
    return [*lines, "", "Versions: " + ", ".join(f"{name} {v}" for name, v in sorted(versions.items())) + "."]


def run(*, date: str, command: str, recordings: str, steps: int, threads: int, machine: dict, **_: object) -> str:
    """Return when, where and by what command works were measured."""
    where = f"{machine['processor']}, {machine['cores']} cores, {machine['system']}"
    return f"{date}, {where}; {recordings}, T = {steps}, {threads} threads; `{command}`"


def points_of(found: dict, sweep: str) -> dict[str, list[tuple[float, float]]]:
    """Return for each library the points (activity in %, milliseconds) of a sweep, of its fastest form at each."""
    points: dict[str, dict[float, float]] = {}
    for name in SWEEPS[sweep][1]:
        if name in found["works"]:
            percent = 100 * (TRAINING[name].activity or 0)
            for row in timed(found["works"][name]):
                of = points.setdefault(row["peer"], {})
                of[percent] = min(of.get(percent, float("inf")), 1e3 * row["step"])
    return {peer: sorted(of.items()) for peer, of in points.items()}


def chart(path: Path, found: dict) -> Path | None:
    """Draw the times of steps over activities; return where, or None where there is nothing to draw."""
    there = {sweep: drawn for sweep in SWEEPS if (drawn := points_of(found, sweep))}
    if not there:
        return None
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    figure = Figure((6.5 * len(there), 5), layout="constrained")
    for axes, (sweep, drawn) in zip(figure.subplots(1, len(there), squeeze=False)[0], there.items(), strict=True):
        for peer, points in drawn.items():
            colour, mark = _LINES[peer]
            width = 3 if peer == "ours" else 1.5
            axes.loglog(*zip(*points, strict=True), color=colour, marker=mark, linewidth=width, label=NAMES[peer])
        percents = sorted({percent for points in drawn.values() for percent, _ in points})
        axes.set_xticks(percents, [f"{percent:g}" for percent in percents], minor=False)
        axes.set_xticks([], minor=True)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_minor_formatter("")
        axes.set_xlabel("activity, % of steps in which each input and neuron fires")
        axes.set_ylabel("ms a training step")
        axes.set_title(SWEEPS[sweep][0], fontsize=11, loc="left")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path
