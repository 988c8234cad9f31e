"""What a training step asks of a GPU, counted without one, and a model of its time.

    python benchmarks/gpu_cost.py     # the examples' MLP and CNN, into gpu_cost.json; totals into docs/kernels.md

The step is that of a `Trainer` with a `Loader` of recordings of an event camera: events from the host, forward, loss,
backward, gradient flow, optimizer and score. It runs on the stand-in for CuPy, which counts every operation and
computes none. The table has the totals; gpu_cost.json has them by phase, layer and kernel too.

The model: an operation takes the longest of a launch, its bytes at the bandwidth of the memory, the sectors that its
warps read and write at the bandwidth of the L2 cache, its floating-point operations, and the chain of dependent
instructions of its steps. Operations follow one another. Sectors are counted by executing the step of one and of two
samples; they are linear in the samples. Another library's step is in the same model, by its products and its passes
over arrays. Nothing of it is measured. What gpu.py has measured on a card is written beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import common
import example_networks
from comparison.models.stages import shapes
from comparison.works import NAMES
from example_networks import BANDWIDTH, NETWORKS, STEPS, UPDATED, Network, prepared

from cuslayer._tape import Node, Tensor
from cuslayer.data import Loader
from cuslayer.network.graph import observe
from cuslayer.network.network import Container
from cuslayer.training import Trainer
from cuslayer.training.score import Tally
from cuslayer.training.steps import GraphStep
from tools.fake_cupy import Costs, counted, in_use

# Of an H100: operations a second in float32; seconds of a launch through CuPy, and of one within a graph; bytes a
# second from ordinary memory of the host, and from the L2 cache.
FLOPS = 50e12
LAUNCH = 5e-6
LAUNCH_IN_GRAPH = 2e-6
TRANSFER = 8.5e9
L2 = 5.5e12
# Seconds of a neuron's step: some 15 dependent instructions of 4 cycles, at 1.755 GHz.
STEP = 60 / 1.755e9
# Parts of the names of kernels that compute steps one after the other.
IN_STEPS = ("neuron", "conv_pool", "recurrent")
# The step that is counted: every fourth records gradients; the first of them compiles kernels, the second is captured.
COUNTED = 8
# The steps in which sectors are counted.
SHORT = 30
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
    nodes = trainer.net.graph.nodes

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


def sectors(network: Network) -> dict[str, list[float]]:
    """Return the bytes of the sectors that each launch of a kernel reads and writes in a step, by the kernel's name."""
    found = []
    with mock.patch.object(example_networks, "STEPS", SHORT), in_use(counting=True) as emulator:
        for batch in (1, 2):
            trainer, loader = prepared(network._replace(batch=batch), 1, graph=False)
            emulator.counts.clear()
            trainer.train(loader)
            found.append(
                [(each.kernel, sum(a.read + a.written for a in each.sectors.values())) for each in emulator.counts]
            )
    by_kernel: dict[str, list[float]] = {}
    for (name, one), (_, two) in zip(*found, strict=True):
        by_kernel.setdefault(name, []).append(32.0 * (2 * one - two + network.batch * STEPS / SHORT * (two - one)))
    return by_kernel


def with_sectors(costs: Costs, found: dict[str, list[float]]) -> Costs:
    """Return costs whose launches have the bytes of their sectors, from what `sectors` returns."""
    left = {name: iter(each) for name, each in found.items()}
    return Costs(replace(o, sectors=next(left.get(o.name, iter(())), 0.0)) for o in costs.operations)


def microseconds(costs: Costs) -> float:
    """Return the model's time of the operations on the device, one after the other."""
    return 1e6 * sum(
        max(
            LAUNCH_IN_GRAPH if o.graph else LAUNCH,
            *(o.bytes / BANDWIDTH, o.sectors / L2, o.flops / FLOPS),
            STEPS * STEP * any(part in o.name for part in IN_STEPS),
        )
        for o in costs.operations
        if o.kind not in ("upload", "readback")
    )


def peer_microseconds(network: Network) -> float:
    """Return the model's time of a step of SpikingJelly: frames of float32, a kernel for a layer's neurons.

    A layer is a product or a convolution. Its neurons read its output and write spikes and potentials. Backward has
    both gradients of the product, and a pass of the neurons that reads two arrays and writes one.
    """
    frames, total, weights = STEPS * network.batch, 0.0, 0

    def add(numbers: float, flops: float = 0.0, chain: bool = False, times: int = 1) -> None:
        nonlocal total
        total += times * max(LAUNCH, 4 * numbers / BANDWIDTH, flops / FLOPS, STEPS * STEP * chain)

    for place, ((kind, size, *rest), (before, after)) in enumerate(
        zip(network.layers, shapes(network.layers, network.shape), strict=True)
    ):
        fan_in = {"conv": before[-1] * rest[0] ** 2 if rest else 0, "pool": 0, "dense": math.prod(before)}[kind]
        inputs, outputs, own = frames * math.prod(before), frames * math.prod(after), fan_in * size
        weights += own if kind != "pool" else 0
        add(inputs + outputs + own, 2.0 * outputs * fan_in, times=1 + (kind != "pool") + (place > 0))
        add(3 * outputs, chain=True, times=2)
    add(7 * weights)
    return 1e6 * total


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
    found = sectors(made)
    costs, half = with_sectors(count(made), found), totals(count(made.half()))
    row = {"network": name, "steps": STEPS, "batch": made.batch, "sectors": found, **totals(costs)}
    row |= {"float16": half | {"microseconds": None}, "peer_microseconds": peer_microseconds(made)}
    return row | {"parts": parts(costs), "kernels": kernels(costs)}


def size(number: float) -> str:
    """Return a number of bytes or operations with three digits and a prefix."""
    for unit in ("", " k", " M"):
        if number < 999.5:
            return f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:.3g} G"


def shown(name: str, number: float | None) -> str:
    """Return a number of TOTALS as text."""
    if number is None:
        return ""
    if name.startswith("microseconds"):
        return f"{number:,.0f} µs"
    return f"{number:,.0f}" if name in ("operations", "products", "readbacks") else size(number)


def of_totals(rows: list[dict[str, Any]]) -> list[str]:
    """Return the table of totals, beside those with potentials as float16 and those before."""
    heads, cells = ["a training step"], [[title] for title in TOTALS.values()]
    for row in rows:
        columns = {f"{row['network']}, T {row['steps']}, batch {row['batch']}": row}
        columns["potentials as float16"] = row["float16"]
        heads += columns
        for line, name in zip(cells, TOTALS, strict=True):
            line += [shown(name, column[name]) for column in columns.values()]
    return common.table(heads, cells, 1)


def on_cards(model: dict[str, dict[str, Any]]) -> list[str]:
    """Return the table of the model, `measure` of each network, and of what gpu.py has measured on each card."""
    results = [common.load(path.stem) for path in sorted(common.RESULTS.glob("gpu-*.json"))]
    columns = [_of_model(model), *map(_of_card, results)]
    heads = ["", "the model of an H100", *(f"measured: {found['card']}" for found in results)]
    names = list(dict.fromkeys(name for column in columns for name in column if column[name]))
    rows = [[name, *(column.get(name, "") for column in columns)] for name in names]
    return [*common.table(heads, rows, 1), *([] if results else ["", "No card was measured yet."])]


def _of_model(model: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return the cells of the model."""
    cells = {}
    for name, row in model.items():
        full = f"{row['microseconds'] / 1e3:.3f} ms"
        cells[f"{name}: a step as a graph"] = full
        peer, times = row["peer_microseconds"] / 1e3, row["peer_microseconds"] / row["microseconds"]
        cells[f"{name}: the fastest peer"] = f"{peer:.2f} ms, {times:.1f} times (SpikingJelly, multi-step)"
    seconds = EPOCH / NETWORKS["MLP"].batch * model["MLP"]["microseconds"] / 1e6
    cells |= {f"MLP: an epoch of {EPOCH:,} recordings": f"{seconds:.2f} s", "a copy": f"{BANDWIDTH / 1e9:,.0f} GB/s"}
    return cells | {"a step of a narrow neuron kernel": f"{1e9 * STEP:.0f} ns"}


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
    if "step_nanoseconds" in speed:
        cells["a step of a narrow neuron kernel"] = f"{speed['step_nanoseconds']:.0f} ns"
    if "passed" in of.get("tests", {}):
        cells["tests"] = f"{of['tests']['passed']:,} passed, {of['tests']['failed']} failed"
    if checks := of.get("bits", {}).get("checks"):
        cells["bits of equal steps"] = "equal" if all(check["met"] for check in checks) else "differ"
    return cells


def main(arguments: list[str] | None = None) -> None:
    options = common.parser(__doc__).parse_args(arguments)
    rows = [measure(name) for name in NETWORKS]
    common.save("gpu_cost", rows, options.out)
    common.show(options.out, "kernels", "gpu-cost", of_totals(rows))
    common.show(options.out, "kernels", "gpu-card", on_cards({row["network"]: row for row in rows}))


if __name__ == "__main__":
    main()
