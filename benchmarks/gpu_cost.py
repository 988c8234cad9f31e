"""What a training step asks of a GPU, counted without one, and a model of its time.

    python benchmarks/gpu_cost.py                              # the examples' MLP and CNN, into docs/kernels.md
    python benchmarks/gpu_cost.py --network 34x34x2-64-10 --batch 16

A step of a `Trainer` on recordings of events runs on the stand-in for CuPy, which counts every operation and computes
none (step_costs.py). The table has operations, matrix products, reads back to the host, bytes and floating-point
operations, by phase and layer.

The model: each operation takes the longest of a launch, its bytes at the bandwidth of the memory and its operations at
the rate of float32; they follow one another. Nothing of it is measured. What gpu.py has measured on a card, from the
files of benchmarks/results/, is written beside it.
"""

from __future__ import annotations

from typing import Any

import common
import step_costs
import traffic
from comparison.works import NAMES
from example_networks import NETWORKS, STEPS, Network

import cuslayer as cs
from tools.fake_cupy import Costs, Operation

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

# The recordings of an epoch.
EPOCH = 60_000

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


def network(name: str, batch: int | None = None) -> Network:
    """Return a network, "MLP", "CNN" or a notation."""
    if name not in NETWORKS:
        shape = cs.Network(name, cs.SRM()).input_shape
        return Network(lambda: cs.Network(name, cs.SRM()), batch or 8, shape)
    return NETWORKS[name]._replace(batch=batch or NETWORKS[name].batch)


def measure(name: str, steps: int = STEPS, batch: int | None = None) -> dict[str, Any]:
    """Return everything about a training step of a network."""
    made = network(name, batch)
    costs, half = step_costs.count(made, steps), step_costs.count(made.half(), steps)
    found = {"network": name, "steps": steps, "batch": made.batch, **totals(costs), "float16": totals(half)}
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
        usual = row["network"] in BEFORE and (row["steps"], row["batch"]) == (STEPS, NETWORKS[row["network"]].batch)
        columns = {f"{row['network']}, T {row['steps']}, batch {row['batch']}": row}
        columns["potentials as float16"] = row["float16"]
        if usual:
            columns["before"] = BEFORE[row["network"]]
        heads += columns
        for line, name in zip(cells, TOTALS, strict=True):
            line += [shown(name, column[name]) for column in columns.values()]
    return common.table(heads, cells, 1)


def of_parts(row: dict[str, Any]) -> list[str]:
    """Return the table of a network by phase and layer."""
    names = list(TOTALS)
    cells = [
        [part["phase"], part["layer"], *(shown(name, part[name]) if part[name] else "" for name in names)]
        for part in row["parts"]
    ]
    heads = ["operations", "products", "reads back", "sent", "moved", "flops", "time", "to send"]
    return common.table([f"{row['network']}: phase", "layer", *heads], cells, 2)


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
    return common.table(heads, cells, 2)


def on_cards(model: dict[str, dict[str, Any]]) -> list[str]:
    """Return the table of the model, `measure` of each network, and of what gpu.py has measured on each card."""
    results = [common.load(path.stem) for path in sorted(common.RESULTS.glob("gpu-*.json"))]
    columns = [_of_model(model), *map(_of_card, results)]
    heads = ["", "the model, of an H100: not measured", *(f"measured: {found['card']}" for found in results)]
    if len(columns) == 1:
        heads, columns = [*heads, "on a card"], [*columns, {}]
    names = list(dict.fromkeys(name for column in columns for name in column))
    missing = ["", *("not measured yet" for _ in columns[1:])]
    rows = [[name, *(column.get(name, gone) for column, gone in zip(columns, missing, strict=True))] for name in names]
    return common.table(heads, rows, 1)


def _of_model(model: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return the cells of the model."""
    cells = {}
    for name, row in model.items():
        full, half = (f"{each['microseconds'] / 1e3:.3f} ms" for each in (row, row["float16"]))
        cells |= {f"{name}: a step launched one by one": "", f"{name}: a step as a graph": full}
        cells |= {f"{name}: with potentials as float16": half, f"{name}: the fastest peer": ""}
    seconds = EPOCH / NETWORKS["MLP"].batch * model["MLP"]["microseconds"] / 1e6
    cells |= {f"MLP: an epoch of {EPOCH:,} recordings": f"{seconds:.2f} s", "a copy": f"{BANDWIDTH / 1e9:,.0f} GB/s"}
    return cells | dict.fromkeys(("an empty launch; one in a graph", "tests", "bits of equal steps"), "")


def _of_card(found: dict[str, Any]) -> dict[str, str]:
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
    whole, speed = of.get("epoch", {}), of.get("speed", {})
    if "epoch_seconds" in whole:
        cells[f"MLP: an epoch of {whole['recordings']:,} recordings"] = f"{whole['epoch_seconds']:.2f} s"
    if "copy_bytes_per_second" in speed:
        cells["a copy"] = f"{speed['copy_bytes_per_second'] / 1e9:,.0f} GB/s"
    if "launch_in_graph_microseconds" in speed:
        both = speed["launch_microseconds"], speed["launch_in_graph_microseconds"]
        cells["an empty launch; one in a graph"] = "; ".join(f"{each:.1f} µs" for each in both)
    if "passed" in of.get("tests", {}):
        cells["tests"] = f"{of['tests']['passed']:,} passed, {of['tests']['failed']} failed"
    if checks := of.get("bits", {}).get("checks"):
        cells["bits of equal steps"] = "equal" if all(check["met"] for check in checks) else "differ"
    return cells


def main(arguments: list[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--network", action="append", help="MLP, CNN or a notation, several times; by default both")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--batch", type=int, help="by default 32 for MLP, else 8")
    options = parser.parse_args(arguments)
    rows = [measure(name, options.steps, options.batch) for name in options.network or NETWORKS]
    tables = {"gpu-cost": [*of_totals(rows), *(line for row in rows for line in ("", *of_parts(row)))]}
    tables["gpu-kernels"] = of_kernels(rows)
    if not options.network:
        tables["gpu-card"] = on_cards({row["network"]: row for row in rows})
    for mark, lines in tables.items():
        # Only the examples' networks have a place on the page.
        common.show(common.DOCS if options.network else options.out, "kernels", mark, lines)


if __name__ == "__main__":
    main()
