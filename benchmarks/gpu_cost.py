"""What a training step asks of a GPU, counted without one, and a model of its time.

    python benchmarks/gpu_cost.py     # the examples' MLP and CNN, into gpu_cost.json and docs/kernels.md

The step is that of a `Trainer` with a `Loader` of recordings of an event camera: events from the host, forward, loss,
backward, gradient flow, optimizer and score. It runs on the stand-in for CuPy, which counts every operation and
computes none, so that a step of any network takes about as long as its Python code. The table has operations, matrix
products, reads back to the host, bytes and floating-point operations, by phase and layer.

The model: each operation takes the longest of a launch, its bytes at the bandwidth of the memory and its operations at
the rate of float32; they follow one another. Nothing of it is measured. What gpu.py has measured on a card, from the
files of benchmarks/results/, is written beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import common
from comparison.works import NAMES
from example_networks import BANDWIDTH, NETWORKS, STEPS, UPDATED, Network, prepared

from cuslayer.data import Loader
from cuslayer.network.graph import observe
from cuslayer.network.network import Container, graph_of
from cuslayer.tape import Node, Tensor
from cuslayer.training import Trainer
from cuslayer.training.score import Tally
from cuslayer.training.steps import GraphStep
from tools.fake_cupy import Costs, counted, in_use

# Of an H100: operations a second in float32; seconds of a launch through CuPy, and of one within a graph; bytes a
# second from ordinary memory of the host.
FLOPS = 50e12
LAUNCH = 5e-6
LAUNCH_IN_GRAPH = 2e-6
TRANSFER = 8.5e9
# The step that is counted: every fourth records gradients; the first of them compiles kernels, the second is captured.
COUNTED = 8
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


def count(network: Network) -> Costs:
    """Return the costs of a training step of a network on a batch of recordings of events."""
    with in_use(compute=False):
        trainer, loader = prepared(network, COUNTED + 1)
        marks = list[int]()
        with counted(updated=UPDATED) as costs, _labelled(trainer, costs):
            trainer.train(_batches(costs, loader, marks))
        return Costs(costs.operations[marks[COUNTED] : marks[COUNTED + 1]])


def _batches(costs: Costs, loader: Loader, marks: list[int]) -> Iterator[Any]:
    """Yield the batches of a loader, and list the numbers of operations before each of them and at the end."""
    batches = iter(loader)
    for _ in range(COUNTED + 1):
        marks.append(len(costs.operations))
        with costs.phase("input"):
            batch = next(batches)
        with costs.phase("trainer"):
            yield batch
    marks.append(len(costs.operations))


@contextmanager
def _labelled(trainer: Trainer, costs: Costs) -> Iterator[None]:
    """Label the operations of a trainer's steps within the block."""
    layers: dict[int, str] = {}
    nodes = graph_of(trainer.net).nodes

    def forward(run: Callable[..., Tensor], step: Any, *inputs: Tensor) -> Tensor:
        layer = f"{nodes[step.start]} {' + '.join(type(stage).__name__ for stage in step.stages)}"
        with costs.phase(layer=layer):
            out = run(step, *inputs)
        _label_nodes(out.node, layer, layers)
        return out

    gradients = Node.input_gradients

    def backward_of_node(self: Node, grad: list[Any]) -> Any:
        with costs.phase(layer=layers.get(self.serial, "loss")):
            return gradients(self, grad)

    def phase(name: str, work: Callable[..., Any], layer: str = "") -> Callable[..., Any]:
        def labelled(*arguments: Any, **options: Any) -> Any:
            with costs.phase(name, layer):
                return work(*arguments, **options)

        return labelled

    with ExitStack() as stack:
        for owner, attribute, name, layer in (
            (GraphStep, "_send", "input", ""),
            (Container, "__call__", "forward", "input"),
            (trainer, "loss", "loss", "loss"),
            (Tensor, "backward", "backward", ""),
            (trainer.gradients, "add", "gradient flow", ""),
            (trainer.optimizer, "step", "optimizer", ""),
            (Tally, "add", "score", ""),
        ):
            labelled = phase(name, getattr(owner, attribute), layer)
            stack.enter_context(mock.patch.object(owner, attribute, labelled))
        stack.enter_context(mock.patch.object(Node, "input_gradients", backward_of_node))
        stack.enter_context(observe(trainer.net, forward))
        yield


def _label_nodes(node: Node | Tensor | None, layer: str, layers: dict[int, str]) -> None:
    """Label the nodes of the graph that a layer made: those behind its output that no layer before has."""
    if isinstance(node, Node) and node.serial not in layers:
        layers[node.serial] = layer
        for other in node.inputs:
            _label_nodes(other, layer, layers)


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


def kernels(costs: Costs) -> list[dict[str, Any]]:
    """Return launches and bytes of each own kernel, and its largest launch."""
    rows = []
    for (_, name), part in costs.by("kind", "name").items():
        launch = max(part.operations, key=lambda o: o.bytes)
        if launch.kind != "own":
            continue
        row = {"kernel": name, "launches": len(part.operations), "moved": part.moved}
        row |= {"microseconds": microseconds(part), "grid": launch.grid, "block": launch.block}
        rows.append(row | {"dynamic_shared": launch.shared})
    return rows


def measure(name: str) -> dict[str, Any]:
    """Return everything about a training step of a network."""
    made = NETWORKS[name]
    costs = count(made)
    found = {
        "network": name,
        "steps": STEPS,
        "batch": made.batch,
        **totals(costs),
        "float16": totals(count(made.half())),
    }
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
        columns = {f"{row['network']}, T {row['steps']}, batch {row['batch']}": row}
        columns |= {"potentials as float16": row["float16"], "before": BEFORE[row["network"]]}
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
    options = common.parser(__doc__).parse_args(arguments)
    rows = [measure(name) for name in NETWORKS]
    common.save("gpu_cost", rows, options.out)
    lines = [*of_totals(rows), *(line for row in rows for line in ("", *of_parts(row)))]
    common.show(options.out, "kernels", "gpu-cost", lines)
    common.show(options.out, "kernels", "gpu-card", on_cards({row["network"]: row for row in rows}))


if __name__ == "__main__":
    main()
