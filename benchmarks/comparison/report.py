"""What was found as text."""

from __future__ import annotations

from page import table

from comparison.aims import aims
from comparison.works import LEFT_OUT, MEMORY, NAMES, SLOW, SWEEPS, TRAINING, WORKS


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
