"""benchmarks/gpu_cost.py: the budgets of a training step, and the counts of the page."""

import runpy
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import cuslayer as cs

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import common  # noqa: E402
import gpu_cost  # noqa: E402


@cache
def costs_of(name, potentials="full"):
    network = gpu_cost.NETWORKS[name]
    return gpu_cost.count(network if potentials == "full" else network.half())


@pytest.mark.parametrize(
    ("name", "operations", "upload", "moved", "moved_float16"),
    [("MLP", 12, 0.52e6, 157e6, 158e6), ("CNN", 21, 0.13e6, 1.12e9, 780e6)],
)
def test_a_training_step_keeps_its_budget(name, operations, upload, moved, moved_float16):
    costs, half = costs_of(name), costs_of(name, "float16")
    assert costs.launches <= operations
    assert costs.readbacks == 0
    assert costs.bytes_up <= upload
    assert costs.moved <= moved
    assert half.moved <= moved_float16
    assert half.own() == costs.own()


def mlp(neuron):
    return lambda: cs.Sequential(cs.Dense((34, 34, 2), 512), neuron, cs.Dense(512, 10), neuron)


def normalized(neuron):
    def stages(inputs, outputs, kernel):
        norm = cs.BatchNorm(outputs, height=neuron.theta, trained=True)
        return cs.Conv(inputs, outputs, kernel), norm, neuron, cs.Dropout(0.2), cs.SumPool(2, 11.0), neuron

    return lambda: cs.Sequential(*stages(2, 16, 5), *stages(16, 32, 3), cs.Dense((7, 7, 32), 10), neuron)


CNN = runpy.run_path(str(BENCHMARKS.parent / "examples" / "nmnist_cnn.py"))["network"]
CAPTURED = {
    "LIF": (mlp(cs.LIF()), 12),
    "CUBA": (mlp(cs.CUBA(gradient="exact")), 12),
    "Loihi": (mlp(cs.Loihi()), 19),
    "SampledSRM": (mlp(cs.neurons.SampledSRM()), 21),
    "CNN": (lambda: CNN(cs.LIF()), 21),
    "BatchNorm and Dropout": (normalized(cs.LIF()), 43),
    "BatchNorm and Dropout, SRM": (normalized(cs.SRM()), 43),
    "recurrent": (lambda: cs.Network("34x34x2-128r-10", cs.LIF()), 16),
}


@pytest.mark.parametrize(("make", "operations"), CAPTURED.values(), ids=CAPTURED)
def test_steps_of_other_networks_are_captured(make, operations):
    """Only the batch and its labels are sent."""
    costs = gpu_cost.count(gpu_cost.Network(make, 8))
    assert costs.launches <= operations
    assert (costs.readbacks, costs.uploads) == (0, 2)
    assert all(operation.graph for operation in costs.operations[3:])


def test_a_read_out_with_a_leak_of_each_output_is_captured():
    def make():
        return cs.Sequential(cs.Dense((34, 34, 2), 16), cs.LIF(), cs.ReadOut(16, 10, tau=np.linspace(5.0, 20.0, 10)))

    costs = gpu_cost.count(gpu_cost.Network(make, 8))
    assert costs.uploads == 2


def test_the_page_has_the_counts():
    """`python benchmarks/gpu_cost.py` writes them; it counts the sectors that are in its results."""
    rows = []
    for saved in common.load("gpu_cost"):
        name = saved["network"]
        full = gpu_cost.totals(gpu_cost.with_sectors(costs_of(name), saved["sectors"]))
        half = gpu_cost.totals(costs_of(name, "float16")) | {"microseconds": None}
        rows.append({"network": name, "steps": 300, "batch": saved["batch"], **full, "float16": half})
    assert [row["network"] for row in rows] == list(gpu_cost.NETWORKS)
    assert "\n".join(gpu_cost.of_totals(rows)) in (common.DOCS / "kernels.md").read_text("utf-8")
