"""The results of benchmarks/gpu.py as text, and as the table of docs/kernels.md."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import page
import traffic
from comparison.works import NAMES
from example_networks import BATCHES

RESULTS = Path(__file__).parent / "results"
# The recordings of an epoch.
EPOCH = 60000

Found = Mapping[str, Any]


def text(name: str, entry: Found) -> list[str]:
    """Return what a stage has found, as lines."""
    where = entry.get("where", {})
    about = ", ".join(f"{key} {value}" for key, value in where.items() if key != "card")
    head = f"{name}: {entry['status']} in {entry.get('seconds', 0.0):.1f} s of {entry['limit']} s"
    reason = [f"  {entry['reason']}"] if entry.get("reason") else []
    found = dict(entry.get("found", {}))
    checks = found.pop("checks", [])
    lines = [f"  {key}: {_shown(value)}" for key, value in found.items() if not _is_table(value)]
    for key, value in found.items():
        if _is_table(value):
            lines += [f"  {key}", *(f"    {line}" for line in _table(value))]
    lines += [
        f"  {'met   ' if c['met'] else 'NOT MET'} {c['what']}{': ' + c['found'] if c['found'] else ''}" for c in checks
    ]
    return [head, *reason, *([f"  on {where['card']}, {about}"] if where else []), *lines]


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _table(rows: list[dict[str, Any]]) -> list[str]:
    """Return rows as a table whose columns are the keys of all rows."""
    heads = list(dict.fromkeys(key for row in rows for key in row))
    return page.table(heads, [[_shown(row[key]) if key in row else "" for key in heads] for row in rows], 2)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(each)}" for key, each in value.items() if each is not None)
    if isinstance(value, list):
        return " ".join(map(_shown, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


def unmet(stages: Mapping[str, Found]) -> list[str]:
    """Return what failed and what is not as demanded, as lines."""
    lines = [f"{name}: {entry['reason']}" for name, entry in stages.items() if entry["status"] in ("failed", "stopped")]
    for name, entry in stages.items():
        for check in entry.get("found", {}).get("checks", []):
            if not check["met"]:
                lines.append(f"{name}: {check['what']}{': ' + check['found'] if check['found'] else ''}")
    return lines


def all_results(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Return the results of all cards that have been measured, in the order of their files."""
    return [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("gpu-*.json"))]


def lines(results: Iterable[Found], model: Mapping[str, Found]) -> list[str]:
    """Return the table of the page: the model, and what was measured on each card.

    Args:
        results: the results of each card.
        model: the model's totals of a step, by network, as `gpu_cost.measure` returns them.
    """
    columns = [_of_model(model), *map(_of_card, results)]
    heads = ["", "the model, of an H100: not measured", *(f"measured: {found['card']}" for found in results)]
    if len(columns) == 1:
        heads, columns = [*heads, "on a card"], [*columns, {}]
    names = list(dict.fromkeys(name for column in columns for name in column))
    missing = ["", *("not measured yet" for _ in columns[1:])]
    rows = [[name, *(column.get(name, gone) for column, gone in zip(columns, missing, strict=True))] for name in names]
    return page.table(heads, rows, 1)


def _of_model(model: Mapping[str, Found]) -> dict[str, str]:
    """Return the cells of the model."""
    cells = {}
    for name, row in model.items():
        cells |= {f"{name}: a step launched one by one": "", f"{name}: a step as a graph": _ms(row["microseconds"])}
        cells[f"{name}: with potentials as float16"] = _ms(row["float16"]["microseconds"])
        cells[f"{name}: the fastest peer"] = ""
    if "MLP" in model:
        seconds = EPOCH / BATCHES["MLP"] * model["MLP"]["microseconds"] / 1e6
        cells[f"MLP: an epoch of {EPOCH:,} recordings"] = f"{seconds:.2f} s"
    cells["a copy"] = f"{traffic.BANDWIDTH / 1e9:,.0f} GB/s"
    return cells | dict.fromkeys(("an empty launch; one in a graph", "tests", "bits of equal steps"), "")


def _ms(microseconds: float) -> str:
    return f"{microseconds / 1e3:.3f} ms"


def _of_card(found: Found) -> dict[str, str]:
    """Return the cells of a card, of the stages that found something."""
    of = {name: entry.get("found", {}) for name, entry in found["stages"].items()}
    cells: dict[str, str] = {}
    for row in of.get("steps", {}).get("rows", []):
        name, graph = row["network"], f"{row['graph']['milliseconds']:.3f} ms"
        if row["potentials"] == "full":
            cells[f"{name}: a step launched one by one"] = f"{row['eager']['milliseconds']:.3f} ms"
            cells[f"{name}: a step as a graph"] = graph
        else:
            cells[f"{name}: with potentials as float16"] = graph
    timed = [row for row in of.get("peers", {}).get("rows", []) if "times" in row]
    for name in dict.fromkeys(row["network"] for row in timed):
        best = min((row for row in timed if row["network"] == name), key=lambda row: row["times"])
        peer = f"{NAMES[best['peer']]}, {best['form']}"
        cells[f"{name}: the fastest peer"] = f"{best['milliseconds']:.2f} ms, {best['times']:.1f} times ({peer})"
    whole = of.get("epoch", {})
    if "epoch_seconds" in whole:
        cells[f"MLP: an epoch of {whole['recordings']:,} recordings"] = f"{whole['epoch_seconds']:.2f} s"
    speed = of.get("speed", {})
    if "copy_bytes_per_second" in speed:
        cells["a copy"] = f"{speed['copy_bytes_per_second'] / 1e9:,.0f} GB/s"
    if "launch_in_graph_microseconds" in speed:
        both = speed["launch_microseconds"], speed["launch_in_graph_microseconds"]
        cells["an empty launch; one in a graph"] = "; ".join(f"{each:.1f} µs" for each in both)
    if "passed" in of.get("tests", {}):
        cells["tests"] = f"{of['tests']['passed']:,} passed, {of['tests']['failed']} failed"
    checks = of.get("bits", {}).get("checks", [])
    if checks:
        cells["bits of equal steps"] = "equal" if all(check["met"] for check in checks) else "differ"
    return cells
