"""What a training step asks of a GPU, counted without one, and a model of its time.

    python benchmarks/gpu_cost.py                              # the examples' MLP and CNN, into docs/kernels.md
    python benchmarks/gpu_cost.py --network 34x34x2-64-10 --batch 16
    python benchmarks/gpu_cost.py --json                       # for programs

A step of a `Trainer` on recordings of events runs on the stand-in for CuPy, which counts every operation and computes
none (step_costs.py). The table has operations, matrix products, reads back to the host, bytes and floating-point
operations, by phase and layer.

The model: each operation takes the longest of a launch, its bytes at the bandwidth of the memory and its operations at
the rate of float32; they follow one another. Nothing of it is measured. What gpu.py has measured on a card, from the
files of benchmarks/results/, is written beside it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import example_networks
import gpu_report
import page
import step_costs
import traffic
from example_networks import BATCHES, SHAPE, Make, with_float16
from step_costs import Costs, Operation

import cuslayer as cs

PAGE = Path(__file__).parents[1] / "docs" / "kernels.md"

# Of an H100: bytes a second of its memory, operations a second in float32; seconds of a launch through CuPy, and of one
# within a graph; bytes a second from ordinary memory of the host.
BANDWIDTH = traffic.BANDWIDTH
FLOPS = 50e12
LAUNCH = 5e-6
LAUNCH_IN_GRAPH = 2e-6
TRANSFER = 8.5e9
# Instructions a second of its warps: four a cycle of 132 multiprocessors at 1.755 GHz. Instructions of a warp of
# sm_90 for 32 neurons at a step, in float32, where docs/kernels.md has them: those of the neurons alone.
ISSUE = 4 * 132 * 1.755e9
INSTRUCTIONS = {"conv_neuron": 70, "conv_pool": 70 * 5 / 4, "dense_neuron": 50}

TOTALS = {
    "operations": "operations (launches, memsets, products, copies)",
    "products": "matrix products",
    "readbacks": "reads back to the host",
    "bytes_up": "bytes sent to the device",
    "moved": "bytes moved on the device",
    "flops": "floating-point operations of products",
    "microseconds": "model: time on the device",
    "microseconds_up": "model: time of the transfers before",
}

# The same totals before spikes were packed and layers had kernels of their own.
BEFORE: dict[str, dict[str, float]] = {
    name: dict(zip(TOTALS, numbers, strict=True))
    for name, numbers in (
        ("MLP", (42, 5, 3, 22197760, 725638509, 45750681600, 1201.5, 2611.5)),
        ("CNN", (6102, 318, 3, 5549440, 13629627005, 42428006400, 31591.2, 652.9)),
    )
}


def microseconds(costs: Costs) -> float:
    """Return the model's time of the operations on the device, one after the other."""
    launched = (o for o in costs.operations if o.kind not in ("upload", "readback"))
    return 1e6 * sum(
        max(LAUNCH_IN_GRAPH if o.graph else LAUNCH, o.bytes / BANDWIDTH, o.flops / FLOPS) for o in launched
    )


def totals(costs: Costs) -> dict[str, float]:
    """Return the totals of costs by the names of TOTALS."""
    numbers: dict[str, float] = {"operations": costs.launches, "microseconds": microseconds(costs)}
    numbers["microseconds_up"] = 1e6 * costs.bytes_up / TRANSFER
    return {name: numbers[name] if name in numbers else getattr(costs, name) for name in TOTALS}


def parts(costs: Costs) -> list[dict[str, Any]]:
    """Return the totals of each phase and layer, in the order of the step."""
    return [
        {"phase": phase, "layer": layer, **totals(part)} for (phase, layer), part in costs.by("phase", "layer").items()
    ]


def bound(launch: Operation) -> str:
    """Return what takes longest of a kernel in the model; "not known" where its instructions may, or its bytes."""
    if (LAUNCH_IN_GRAPH if launch.graph else LAUNCH) >= launch.bytes / BANDWIDTH:
        return "launch"
    if launch.name not in INSTRUCTIONS:
        return "not known"
    of_bytes = 32 * traffic.bytes_per_element(launch.name, "float32") / BANDWIDTH
    return "instructions" if INSTRUCTIONS[launch.name] / ISSUE > of_bytes else "memory"


def kernels(costs: Costs) -> list[dict[str, Any]]:
    """Return launches and bytes of each own kernel, and its largest launch."""
    rows = []
    for (_, name), part in costs.by("kind", "name").items():
        launch = max(part.operations, key=lambda o: o.bytes)
        if launch.kind != "own":
            continue
        row: dict[str, Any] = {"kernel": name, "launches": len(part.operations), "moved": part.moved}
        row["microseconds"], row["bound"] = microseconds(part), bound(launch)
        rows.append(row | {"grid": launch.grid, "block": launch.block, "dynamic_shared": launch.shared})
    return rows


def network(name: str) -> tuple[Make, tuple[int, ...]]:
    """Return a function that makes a network, "MLP", "CNN" or a notation, and the shape of its input."""
    if name in example_networks.NETWORKS:
        return example_networks.NETWORKS[name], SHAPE
    made = cs.Network(name, cs.SRM())
    return lambda: cs.Network(name, cs.SRM()), made.input_shape


def measure(name: str, steps: int, batch: int) -> dict[str, Any]:
    """Return everything about a training step of a network."""
    make, shape = network(name)
    costs = step_costs.count(make, shape, steps, batch)
    half = step_costs.count(with_float16(make), shape, steps, batch)
    found = {"network": name, "steps": steps, "batch": batch, **totals(costs), "float16": totals(half)}
    return found | {"parts": parts(costs), "kernels": kernels(costs)}


def size(number: float) -> str:
    """Return a number of bytes or operations with three digits and a prefix."""
    for unit in ("", " k", " M"):
        if number < 999.5:
            return f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:.3g} G"


def shown(name: str, number: float) -> str:
    """Return a number of TOTALS as text."""
    if name.startswith("microseconds"):
        return f"{number:,.0f} µs"
    return f"{number:,.0f}" if name in ("operations", "products", "readbacks") else size(number)


def of_totals(rows: list[dict[str, Any]]) -> list[str]:
    """Return the table of totals, beside those with potentials as float16 and those before."""
    heads, cells = ["a training step"], [[title] for title in TOTALS.values()]
    for row in rows:
        usual = row["steps"] == example_networks.STEPS and row["batch"] == BATCHES.get(row["network"])
        columns = {f"{row['network']}, T {row['steps']}, batch {row['batch']}": row}
        columns["potentials as float16"] = row["float16"]
        if usual and row["network"] in BEFORE:
            columns["before"] = BEFORE[row["network"]]
        heads += columns
        for line, name in zip(cells, TOTALS, strict=True):
            line += [shown(name, column[name]) for column in columns.values()]
    return page.table(heads, cells, 1)


def of_parts(row: dict[str, Any]) -> list[str]:
    """Return the table of a network by phase and layer."""
    names = list(TOTALS)
    cells = [
        [part["phase"], part["layer"], *(shown(name, part[name]) if part[name] else "" for name in names)]
        for part in row["parts"]
    ]
    heads = ["operations", "products", "reads back", "sent", "moved", "flops", "time", "to send"]
    return page.table([f"{row['network']}: phase", "layer", *heads], cells, 2)


def of_kernels(rows: list[dict[str, Any]]) -> list[str]:
    """Return the table of the own kernels of all networks."""
    heads = ["kernel", "network", "launches", "moved", "time", "bound by", "blocks", "threads", "dynamic shared"]
    cells = []
    for row in rows:
        for kernel in row["kernels"]:
            threads, grid = ("x".join(map(str, kernel[name])) for name in ("block", "grid"))
            numbers = [str(kernel["launches"]), size(kernel["moved"]), shown("microseconds", kernel["microseconds"])]
            numbers += [kernel["bound"], grid, threads, size(kernel["dynamic_shared"])]
            cells.append([f"`{kernel['kernel']}`", row["network"], *numbers])
    return page.table(heads, cells, 2)


def of_networks(rows: list[dict[str, Any]]) -> list[str]:
    """Return the table of totals, and a table by phase and layer for each network."""
    lines = of_totals(rows)
    for row in rows:
        lines += ["", *of_parts(row)]
    return lines


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", action="append", help="MLP, CNN or a notation, several times; by default both")
    parser.add_argument("--steps", type=int, default=example_networks.STEPS)
    parser.add_argument("--batch", type=int, help="by default 32 for MLP, else 8")
    parser.add_argument("--json", action="store_true", help="print JSON, write no page")
    parser.add_argument("--docs", type=Path, default=PAGE, help="the page with the tables")
    options = parser.parse_args(arguments)
    names = options.network or list(BATCHES)
    batches = {name: options.batch or BATCHES.get(name, example_networks.BATCH) for name in names}
    rows = [measure(name, options.steps, batch) for name, batch in batches.items()]
    if options.json:
        model = {"bandwidth": BANDWIDTH, "flops": FLOPS, "launch": LAUNCH, "transfer": TRANSFER}
        model["launch_in_graph"] = LAUNCH_IN_GRAPH
        json.dump({"model": model, "before": BEFORE, "networks": rows}, sys.stdout, indent=1)
        print()
        return
    costs, own = of_networks(rows), of_kernels(rows)
    print("\n".join([*costs, "", *own]))
    if options.network is None:
        measured = gpu_report.lines(gpu_report.all_results(), {row["network"]: row for row in rows})
        for mark, lines in (("gpu-cost", costs), ("gpu-kernels", own), ("gpu-card", measured)):
            page.fill(options.docs, mark, lines, None, "")


if __name__ == "__main__":
    main()
