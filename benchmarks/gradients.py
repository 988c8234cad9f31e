"""Train networks with each gradient, `gradient="slayer"`, "detached" and "exact", and compare their validation errors.

    python benchmarks/gradients.py --data DATA       # half an hour on two cores; DATA has braille, qtdb, spoken-digits

Mackey-Glass: 100 recurrent neurons predict a chaotic series 10 steps ahead, at each step, with the defaults of
`Recurrent`, `Trainer` and `Adam`. The tasks of `benchmarks/tasks.py` have their recipes, some with fewer epochs; smnist
and psmnist, hours a run, are left out. The digits are the embedded ones: feed-forward networks learn for 80 steps of 16
recordings, with the defaults of the neurons. AdLIF does not learn them in so few steps. Scores are of recordings that
are held back. Runs in the results are not repeated.

The figures, with versions and machine, go to benchmarks/results/gradients.json, docs/recurrent.md and, of the digits,
docs/coming-from-pytorch.md.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import common
import numpy as np
import yaml
from learning import trained

import cuslayer as cs
from cuslayer.data import Arrays, Digits, Loader, split

GRADIENTS = "slayer", "detached", "exact"
# The kinds for which "detached" is another gradient than "slayer".
RESET = "LIF", "CUBA"
NEURONS: dict[str, Any] = {
    "LIF": cs.LIF(),
    "CUBA": cs.CUBA(),
    "AdaptiveLIF": cs.AdaptiveLIF(),
    "AdLIF": cs.AdLIF(),
    "SRM": cs.SRM(),
}
MACKEY_GLASS = "Mackey-Glass, 100 recurrent neurons"
# Steps of a recording, the steps that are not scored, and how far ahead the answer is.
STEPS, UNSCORED, AHEAD = 200, 50, 10
RECORDINGS, EPOCHS, BATCH = 256, 60, 16
RECIPES = {"braille": 40, "braille-spikes": 40, "qtdb": 10, "spoken-digits": 10}
FILES = {name: name for name in RECIPES} | {
    "braille-spikes": "braille",
    "spoken-digits": "spoken-digits/recordings.npz",
}
SEEDS = {MACKEY_GLASS: 5, "braille-spikes": 2, "digits, MLP": 2, "digits, CNN": 2, "digits, MLP of 4 layers": 2}
NOTATIONS = {
    "digits, MLP": "34x34x2-64-10",
    "digits, CNN": "34x34x2-4a-8c5-2a-10",
    "digits, MLP of 4 layers": "34x34x2-4a-64-64-64-10",
    "digits, MLP of 8 layers": "34x34x2-4a-64-64-64-64-64-64-64-10",
}


# The tasks of each page.
PAGES = {"recurrent": [MACKEY_GLASS, *RECIPES], "coming-from-pytorch": list(NOTATIONS)}


class Work(NamedTuple):
    """A training run."""

    task: str
    neuron: str
    gradient: str
    seed: int


def works() -> list[Work]:
    """Return all runs; a gradient that is the same as another of the kind has none."""
    feed_forward = [neuron for neuron in NEURONS if neuron != "AdLIF"]
    kinds = {
        MACKEY_GLASS: NEURONS,
        **dict.fromkeys(RECIPES, ("AdLIF", "LIF")),
        **dict.fromkeys(NOTATIONS, feed_forward),
    }
    return [
        Work(task, neuron, gradient, seed)
        for task, neurons in kinds.items()
        for neuron in neurons
        for gradient in GRADIENTS
        if gradient != "detached" or neuron in RESET
        for seed in range(SEEDS.get(task, 1))
    ]


def series(length: int) -> np.ndarray:
    """Return the Mackey-Glass series with a delay of 17, a sample for each unit of time."""
    lag, fine = 170, 10
    x = np.full(lag + (length + 1000) * fine, 1.2)
    for i in range(lag, len(x) - 1):
        x[i + 1] = x[i] + (0.2 * x[i - lag] / (1 + x[i - lag] ** 10) - 0.1 * x[i]) / fine
    samples = x[lag::fine][-length:]
    return ((samples - samples.mean()) / samples.std()).astype(np.float32)


def recordings(x: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return stretches (N, T, 1) of a series, and what comes `AHEAD` steps later."""
    starts = np.random.default_rng(0).integers(0, len(x) - STEPS - AHEAD, count)
    return tuple(np.stack([x[i : i + STEPS, None] for i in starts + later]) for later in (0, AHEAD))


def mackey_glass(work: Work) -> float:
    """Return the root mean square error of predictions, over the deviation of the series."""
    x = series(16000)
    net = cs.Sequential(
        cs.Dense(1, 100, bias=True),
        cs.Recurrent(cs.Dense(100, 100), NEURONS[work.neuron].with_gradient(work.gradient)),
        cs.ReadOut(100, 1, tau=5.0, bias=True),
    )
    trainer = cs.training.Trainer(net, cs.MeanSquaredErrorLoss("every"), cs.Adam(net.parameters()))
    loader = Loader(Arrays(*recordings(x[:12000], RECORDINGS)), batch=BATCH, shuffle=True, seed=work.seed)
    for _ in range(EPOCHS):
        trainer.train(loader)
    given, target = (each.swapaxes(0, 1) for each in recordings(x[12000:], 64))
    with cs.no_grad():
        error = (net(given).numpy() - target)[UNSCORED:]
    return float(np.sqrt(np.mean(error**2) / target[UNSCORED:].var()))


def digits(work: Work) -> float:
    """Return the accuracy of a feed-forward network, %."""
    net = cs.Network(NOTATIONS[work.task], NEURONS[work.neuron].with_gradient(work.gradient))
    learned, held_back = split(Digits("train"), test=0.2, seed=0)
    loader = Loader(learned, batch=16, steps=100, shuffle=True, seed=work.seed)
    loss = cs.SpikeCountLoss(net[-1], true=30, false=5)
    optimizer = cs.Adam(net.parameters(), lr=0.05, relative=True, warmup=10)
    cs.calibrate(net, loader)
    steps = 0
    while steps < 80:
        for x, y in islice(loader, 80 - steps):
            common.stepping(net, loss, optimizer, x, y)()
            steps += 1
    with cs.no_grad():
        right = [cs.classify(net(x)) == y for x, y in islice(Loader(held_back, batch=64, steps=100), 5)]
    return 100 * float(np.concatenate(right).mean())


def recipe(work: Work, data: Path) -> float:
    """Return the best validation accuracy of the epochs of `cuslayer train`, %."""
    config = yaml.safe_load((common.ROOT / f"examples/configs/{work.task}.yaml").read_text("utf-8"))
    config["training"] |= {"epochs": RECIPES[work.task], "validation": 0.1}
    if work.neuron == "LIF":  # time constants of the recipe, and calibrated scales
        tau = config["neuron"]["tauU"]
        config["neuron"] = {"type": "LIF", "theta": 1.0, "tau": tau}
        config["training"]["initialization"] = "calibrated"
        for layer in config["layer"]:
            layer.pop("spread", None)
            layer.pop("wScale", None)
    config["neuron"]["gradient"] = work.gradient
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "task.yaml"
        path.write_text(yaml.safe_dump(config), "utf-8")
        given = [str(path), "--data", str(data / FILES[work.task]), "--seed", str(work.seed)]
        return max(trained(*given, threads=1)["validation"])


def run(work: Work, data: Path | None) -> tuple[Work, float]:
    """Return the score of a run, on one thread."""
    cs.threads(1)
    cs.seed(work.seed)
    if work.task in RECIPES:
        assert data is not None
        return work, recipe(work, data)
    return work, mackey_glass(work) if work.task == MACKEY_GLASS else digits(work)


def cell(task: str, scores: Sequence[float]) -> str:
    """Return scores as text: the mean, and the worst of several errors."""
    if not scores:
        return ""
    if task != MACKEY_GLASS:
        return f"{mean(scores):.1f} %"
    return f"{mean(scores):.2f} ({max(scores):.2f})"


def lines(results: dict[str, Any], page: str) -> list[str]:
    """Return the table of a page."""
    scores: dict[tuple[str, str, str], list[float]] = {}
    for task, neuron, gradient, _, score in results["runs"]:
        scores.setdefault((task, neuron, gradient), []).append(score)
    rows = []
    for task in PAGES[page]:
        for neuron in NEURONS:
            cells = [cell(task, scores.get((task, neuron, gradient), ())) for gradient in GRADIENTS]
            if any(cells):
                seeds = str(len(scores[task, neuron, "exact"]))
                rows.append([task, neuron, cells[0], cells[1] or "the same", cells[2], seeds])
    heads = ["", "neuron", *(f"`{gradient}`" for gradient in GRADIENTS), "seeds"]
    return [*common.table(heads, rows, left=2), "", common.said(results["machine"], results["command"])]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--data", type=Path, help="the folder of the recipes' folders; none to leave them out")
    parser.add_argument("--tasks", nargs="+", choices=[MACKEY_GLASS, *RECIPES, *NOTATIONS])
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args(arguments)
    results = {"runs": []} | common.load("gradients", options.out)
    results |= {"machine": common.describe(), "command": "python benchmarks/gradients.py --data DATA"}
    known = {tuple(row[:4]) for row in results["runs"]}
    data = None if options.data is None else options.data.resolve()
    left = [work for work in works() if work not in known and (data is not None or work.task not in RECIPES)]
    if options.tasks:
        left = [work for work in left if work.task in options.tasks]
    with ProcessPoolExecutor(options.jobs) as pool:
        for done in as_completed([pool.submit(partial(run, data=data), work) for work in left]):
            work, score = done.result()
            results["runs"].append([*work, round(score, 4)])
            common.save("gradients", results, options.out)
            print(*work, round(score, 3), flush=True)
    for page in PAGES:
        common.show(options.out, page, "gradients", lines(results, page))


if __name__ == "__main__":
    main()
