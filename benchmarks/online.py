"""Measure learning forward in time: gradients against backward, time and memory of a stream, and tasks by each rule.

    python benchmarks/online.py --data DATA          # an hour and a half on two cores; DATA has qtdb

- `gradients`: the cosine between the gradient of each rule and of backward, layer by layer, of calibrated networks of
  64 neurons a layer for 32 recordings of the embedded digits.
- `time`: a step of a stream that learns, against forward and backward of a network for the same single step.
- `memory`: the memory of a process whose stream learns for a million steps.
- `digits`: the embedded digits by each rule, 6 epochs; accuracy of recordings that are held back.
- `heartbeats`: the recipe of docs/heartbeats.md with fewer epochs, by backward and by "eprop"; validation accuracy.

The figures, with versions and machine, go to benchmarks/results/online.json and docs/learning-rules.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import common
import numpy as np
import yaml
from learning import trained

import cuslayer as cs
from cuslayer.data import Digits, Loader, split
from cuslayer.network import Online
from cuslayer.network.network import graph_in_chunks
from cuslayer.network.online.learner import OnlineLearner

STAGES = "gradients", "time", "memory", "digits", "heartbeats"
NEURONS: dict[str, Any] = {
    "SRM": lambda: cs.SRM(theta=1.0),
    "LIF": cs.LIF,
    "CUBA": cs.CUBA,
    "AdLIF": cs.AdLIF,
}
SIZE = 64
STEPS = 100
STREAM = 1_000_000
# The rules of a task: their names in the table, and `online` of `Trainer`.
RULES: dict[str, Any] = {
    "backward": None,
    "exact": "exact",
    "factored": "factored",
    "eprop, random feedback": Online("eprop", feedback="random"),
    "eprop, adaptive feedback": Online("eprop", feedback="adaptive"),
}
EPOCHS = 6
SEEDS = 2
HEARTBEATS = 30


def network(depth: int, kind: Any, recurrent: bool = False) -> Any:
    """Return a network of layers of neurons after pooling, with a read-out."""
    stages = [cs.SumPool(4, gain=1.1), cs.LIF()]
    inputs: Any = (9, 9, 2)
    for _ in range(depth):
        neuron = kind()
        stages += [cs.Dense(inputs, SIZE), cs.Recurrent(cs.Dense(SIZE, SIZE), neuron) if recurrent else neuron]
        inputs = SIZE
    return cs.Sequential(*stages, cs.ReadOut(inputs, 10))


def cosines(net: Any, rule: str, x: Any, labels: Any) -> list[float]:
    """Return the cosine between the gradients of a rule and of backward for each weight."""
    loss = cs.CrossEntropyLoss(over="mean")
    output = net(x)
    leaf = cs.Tensor(output.data, requires_grad=True)
    loss(leaf, labels).backward()
    parameters = net.parameters()
    output.backward(leaf.grad)
    wanted = [p.grad for p in parameters]
    for p in parameters:
        p.grad = None
    learner = OnlineLearner(graph_in_chunks(net), Online(rule))
    for first in range(0, len(x), 32):
        learner.run(cs.Tensor(x[first : first + 32]))
        learner.learn(leaf.grad[first : first + 32])
    found = [p.grad for p in parameters]
    for p in parameters:
        p.grad = None
    return [
        round(float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())), 6)
        for a, b in zip(found, wanted, strict=True)
    ]


def gradients() -> list[list[Any]]:
    """Return rows of kind, network, rule and the cosines of its weights, the first layer first."""
    x, labels = next(iter(Loader(Digits("train"), batch=32, steps=STEPS, shuffle=True, seed=0)))
    x = x.unpack() if hasattr(x, "unpack") else np.asarray(x)
    rows = []
    for name, kind in NEURONS.items():
        for depth, recurrent in ((1, False), (2, False), (3, False), (1, True)):
            cs.seed(0)
            net = network(depth, kind, recurrent)
            cs.calibrate(net, [(x, labels)])
            text = "recurrent layer" if recurrent else f"{depth} layer{'s' * (depth > 1)}"
            for rule in ("eprop",) if recurrent else ("exact", "factored"):
                rows.append([name, text, rule, *cosines(net, rule, x, labels)])
                print(*rows[-1], flush=True)
    return rows


def stepper(rule: str | None, kind: Any) -> Any:
    """Return a function that learns at one step of 128 inputs: a stream, or forward and backward of the step alone."""
    cs.seed(0)
    net = cs.Sequential(cs.Dense(128, 256), kind(), cs.ReadOut(256, 10))
    loss = cs.CrossEntropyLoss()
    optimizer = cs.SGD(net.parameters(), lr=1e-4)
    label = np.array([1])
    if rule is None:
        return lambda frame: common.stepping(net, loss, optimizer, frame[None], label)()
    stream = net.stream(online=rule, loss=loss, optimizer=optimizer)

    def step(frame: Any) -> None:
        stream.step(frame)
        stream.learn(label)

    return step


def times() -> list[list[Any]]:
    """Return rows of kind, rule, milliseconds of a step and of forward and backward of the step; medians in turn."""
    frames = np.random.default_rng(0).random((300, 1, 128)) < 0.05
    rows = []
    for name, kind in NEURONS.items():
        for rule in ("exact", "factored"):
            steppers = [stepper(rule, kind), stepper(None, kind)]
            taken: list[list[float]] = [[], []]
            for _ in range(7):
                for step, found in zip(steppers, taken, strict=True):
                    begun = time.perf_counter()
                    for frame in frames:
                        step(frame)
                    found.append(1e3 * (time.perf_counter() - begun) / len(frames))
            rows.append([name, rule, *(round(median(found[1:]), 3) for found in taken)])
            print(*rows[-1], flush=True)
    return rows


def memory_of(rule: str) -> None:
    """Print the memory, MB, after tenths of a stream that learns; runs in a process of its own."""
    step = stepper(rule, NEURONS["LIF"])
    draw = np.random.default_rng(0)
    sizes = []
    for number in range(STREAM):
        step(draw.random((1, 128)) < 0.05)
        if (number + 1) % (STREAM // 10) == 0:
            sizes.append(round(common.memory("VmRSS") / 1e6, 1))
    print(json.dumps(sizes))


def memories() -> list[list[Any]]:
    """Return rows of rule and memory, MB, after each tenth of a million steps; both processes run at once."""
    rules = ("exact", "factored")
    runs = [subprocess.Popen([sys.executable, __file__, "--memory-of", rule], stdout=subprocess.PIPE) for rule in rules]
    rows = [[rule, *json.loads(run.communicate()[0])] for rule, run in zip(rules, runs, strict=True)]
    print(*rows, sep="\n", flush=True)
    return rows


def digits() -> list[list[Any]]:
    """Return rows of rule and accuracy of each seed, %."""
    rows = []
    learned, held_back = split(Digits("train"), test=0.2, seed=0)
    for name, online in RULES.items():
        scores = []
        for seed in range(SEEDS):
            cs.seed(seed)
            net = network(1, NEURONS["LIF"])
            options = {"online": online, "log": lambda line: None}
            trainer = cs.Trainer(net, cs.CrossEntropyLoss(over="mean"), cs.Adam(net.parameters(), lr=0.005), **options)
            loader = Loader(learned, batch=16, steps=STEPS, shuffle=True, seed=seed)
            for _ in range(EPOCHS):
                trainer.train(loader)
            scores.append(round(100 * trainer.test(Loader(held_back, batch=64, steps=STEPS)).accuracy, 2))
        rows.append([name, *scores])
        print(*rows[-1], flush=True)
    return rows


def heartbeats(data: Path) -> list[list[Any]]:
    """Return rows of rule and the best validation accuracy of the epochs, %."""
    rows = []
    for rule in (None, "eprop"):
        config = yaml.safe_load((common.ROOT / "examples/configs/qtdb.yaml").read_text("utf-8"))
        config["training"] |= {"epochs": HEARTBEATS} | ({} if rule is None else {"online": rule})
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "qtdb.yaml"
            path.write_text(yaml.safe_dump(config), "utf-8")
            found = trained(str(path), "--data", str(data / "qtdb"), "--seed", "0")
        rows.append([rule or "backward", round(max(found["validation"]), 2)])
        print(*rows[-1], flush=True)
    return rows


def lines(results: dict[str, Any]) -> list[str]:
    """Return the tables of the page."""
    found: list[str] = []
    if "gradients" in results:
        rows = [[*row[:3], ", ".join(f"{cosine:.3f}" for cosine in row[3:])] for row in results["gradients"]]
        found += ["Cosine between each rule's gradient and backward's, of each weight, the first layer first:", ""]
        found += [*common.table(["neuron", "network", "rule", "cosines"], rows, left=4), ""]
    if "digits" in results:
        rows = [[f"`{row[0]}`", f"{mean(row[1:]):.2f} %"] for row in results["digits"]]
        found += [f"The embedded digits, {SIZE} LIF neurons, {EPOCHS} epochs, mean of {SEEDS} seeds, held back:", ""]
        found += [*common.table(["rule", "accuracy"], rows, left=1), ""]
    if "heartbeats" in results:
        rows = [[f"`{row[0]}`", f"{row[1]:.2f} %"] for row in results["heartbeats"]]
        found += [f"[Heartbeats](heartbeats.md), {HEARTBEATS} epochs of its recipe, validation accuracy:", ""]
        found += [*common.table(["rule", "accuracy"], rows, left=1), ""]
    if "time" in results:
        rows = [[row[0], f"`{row[1]}`", f"{row[2]:.2f}", f"{row[3]:.2f}"] for row in results["time"]]
        heads = ["neuron", "rule", "ms a step, stream", "forward and backward of it, ms"]
        found += ["A step of a stream 128-256-10 that learns:", "", *common.table(heads, rows, left=2), ""]
    if "memory" in results:
        rows = [[f"`{row[0]}`", str(row[1]), str(row[-1])] for row in results["memory"]]
        heads = ["rule", "MB after 100,000 steps", "after 1,000,000"]
        found += ["Memory of its process:", "", *common.table(heads, rows, left=1), ""]
    return [*found, common.said(results["machine"], results["command"])]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--data", type=Path, help="the folder of the folder qtdb; none to leave out the heartbeats")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--memory-of", choices=["exact", "factored"], help="the process of the stage memory")
    options = parser.parse_args(arguments)
    if options.memory_of:
        memory_of(options.memory_of)
        return
    results = common.load("online", options.out)
    runs = {"gradients": gradients, "time": times, "memory": memories, "digits": digits}
    for stage in options.stages:
        if stage in runs:
            results[stage] = runs[stage]()
        elif options.data is not None:
            results[stage] = heartbeats(options.data.resolve())
        results |= {"machine": common.describe(), "command": "python benchmarks/online.py --data DATA"}
        common.save("online", results, options.out)
    common.show(options.out, "learning-rules", "online", lines(results))


if __name__ == "__main__":
    main()
