"""Train the configurations of tasks in time with five seeds, and draw a recording that one of the networks answers.

    python benchmarks/tasks.py qtdb --data FOLDER_OF_QTDB             # also braille, braille-spikes: FOLDER_OF_BRAILLE
    python benchmarks/tasks.py spoken-digits --data recordings.npz    # each speaker, and takes 5 to 9, as the test
    python benchmarks/tasks.py smnist --data MNIST --seeds 0          # also psmnist: two to five hours a seed
    python benchmarks/tasks.py fashion-mnist --data FASHION --jobs 1  # also fashion-mnist-residual
    python benchmarks/tasks.py digits-residual                        # the embedded digits
    python benchmarks/tasks.py yin-yang --seeds 0 1 2 3 4 5 6 7 8 9   # points by a formula
    python benchmarks/tasks.py latency-mnist --data MNIST             # each pixel a spike

Each run is `cuslayer train NAME --data DATA --seed SEED` with a thread for each core that no other job has, for psmnist
with `--resume --epochs 170` after it. Runs in the results are not repeated. A tenth of the training set, another for
each seed, is for validation and chooses the epoch of the weights.

The figures, with versions and machine, go to benchmarks/results/tasks.json and the page of the task.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import mean, stdev

import common
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import yaml
from learning import trained

import cuslayer as cs
from cuslayer.training import load_run
from cuslayer.training.data_of_run import load_data

matplotlib.use("Agg")
SPEAKERS = "george", "jackson", "lucas", "nicolas", "theo", "yweweler"
PAGES = {"qtdb": "heartbeats", "braille": "braille", "braille-spikes": "braille", "spoken-digits": "spoken-digits"}
PAGES |= dict.fromkeys(("smnist", "psmnist"), "sequential-mnist")
PAGES |= dict.fromkeys(("fashion-mnist", "fashion-mnist-residual"), "fashion-mnist")
PAGES["digits-residual"] = "coming-from-pytorch"  # it has no picture
PAGES |= dict.fromkeys(("yin-yang", "latency-mnist"), "data")
WITHOUT_FILES = "digits-residual", "yin-yang"
MORE = {"psmnist": ("--epochs", "170")}  # what a completed run goes on with
# Accuracies in %, the first on the official test set.
PUBLISHED = {
    "qtdb": {
        "SRNN (Yin 2021)": "84.4 to 85.9",
        "BRF (Higuchi 2024)": "84.4 to 86.8",
        "SE-adLIF (Baronig 2024)": "87 to 88",
    },
    "braille": {"Mueller-Cleve 2022": "96.7"},
    "braille-spikes": {"Mueller-Cleve 2022": "about 80"},
    "fashion-mnist": {"larger networks, T = 4 to 20": "93.9 to 94.4"},
    "fashion-mnist-residual": {"larger networks, T = 4 to 20": "93.9 to 94.4"},
    "smnist": {"DH-SNN (Zheng 2024)": "98.9", "BRF (Higuchi 2024)": "99.1"},
    "yin-yang": {"EventProp (Wunderlich 2021), ten seeds": "98.10 ± 0.18"},
    "latency-mnist": {"EventProp (Wunderlich 2021), ten seeds": "97.58 ± 0.12"},
    "psmnist": {"DH-SNN (Zheng 2024)": "94.5", "BRF (Higuchi 2024)": "95.0"},
}


def train(name: str, data: Path | None, pictures: bool, threads: int, run: tuple[int, str | None]) -> dict:
    """Return what a run of the command line says: accuracies in % and seconds of its epochs, and its whole time."""
    start, (seed, speaker) = time.perf_counter(), run
    config = yaml.safe_load((common.ROOT / f"examples/configs/{name}.yaml").read_text("utf-8"))
    if speaker is not None:
        config["sound"]["test"] = {"speaker": [speaker]}
    pictures = pictures and data is not None
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"{name}.yaml").write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")
        given = [f"{folder}/{name}.yaml", "--seed", str(seed), *(["--data", str(data)] if data else [])]
        drawn = SPEAKERS[0] if name == "spoken-digits" else None
        draw = partial(picture, name) if pictures and seed == 0 and speaker == drawn else None
        found = trained(*given, threads=threads, look=draw, more=MORE.get(name, ()))
    return {"task": name, "seed": seed, "speaker": speaker, **found, "minutes": (time.perf_counter() - start) / 60}


def picture(name: str, folder: Path) -> None:
    """Draw a recording that a run has not trained with: its input, the spikes of the hidden layers, the answer."""
    run = load_run(folder)
    data = load_data(run.config, run.net, train=True)
    x, target, *lengths = next(iter(data.validation or data.test))
    given = x.numpy() if isinstance(x, cs.Tensor) else x
    chosen = int(abs(given).sum(axis=(0, *range(2, given.ndim))).argmax())
    steps = int(lengths[0][chosen]) if lengths else len(x)
    given = np.ascontiguousarray(given[:steps, chosen : chosen + 1])
    with cs.no_grad(), cs.record(run.net) as seen:
        out = run.net(given).numpy()[:, 0]
    layers = [each.spikes.values for each in seen if "spikes" in each.names]
    if given.ndim == 5:
        figure = of_frames(given[0, 0, :, :, 0], layers[0][:, 0], out, data.train.dataset.names)
        figure.savefig(common.DOCS / f"images/{name}.png", dpi=100, facecolor="white", metadata={"Software": None})
        return
    figure, axes = plt.subplots(2 + len(layers), sharex=True, figsize=(9, 3 + 1.3 * len(layers)), layout="constrained")
    size = float(abs(given).max())
    axes[0].imshow(given.reshape(steps, -1).T, cmap="RdBu", vmin=-size, vmax=size, aspect="auto", interpolation="none")
    for axis, spikes in zip(axes[1:-1], layers, strict=True):
        cs.plot.raster(spikes, axis)
    if np.ndim(target) == 2:
        axes[-1].imshow([target[:steps, chosen], out.argmax(axis=1)], cmap="Set2", aspect="auto", interpolation="none")
        axes[-1].set_yticks([0, 1], ["label", "answer"])
    else:
        axes[-1].plot(out, color="lightgrey")
        axes[-1].plot(out[:, target[chosen]], color="#0072B2", label="read-out of the class")
        axes[-1].legend(loc="lower left")
    texts = "input", *(f"neurons {number}" for number in range(1, 1 + len(layers))), ""
    for axis, text in zip(axes, texts, strict=True):
        axis.set(ylabel=text, title="", xlabel="step" if axis is axes[-1] else "")
    figure.savefig(common.DOCS / f"images/{name}.png", dpi=100, facecolor="white", metadata={"Software": None})


def of_frames(picture: np.ndarray, spikes: np.ndarray, out: np.ndarray, names: Sequence[str]) -> plt.Figure:
    """Draw a picture, the spikes of four maps (T, H, W, C) at each step, and the read-outs (T, classes)."""
    maps = np.argsort(-spikes.sum(axis=(0, 1, 2)))[:4]
    figure, axes = plt.subplots(len(maps), 2 + len(spikes), figsize=(10, 6), layout="constrained")
    for axis in axes.flat:
        axis.set_axis_off()
    axes[0, 0].imshow(picture, cmap="gray")
    axes[0, 0].set_title("input")
    for row, channel in enumerate(maps):
        for t, frame in enumerate(spikes):
            axes[row, 1 + t].imshow(frame[:, :, channel], cmap="gray_r", interpolation="none")
            axes[row, 1 + t].set_title(f"map {channel}, step {t}", fontsize=8)
    answer = figure.add_subplot(axes[0, 0].get_gridspec()[:, -1])
    answer.barh(range(len(names)), out.mean(axis=0), color="#0072B2")
    answer.set_yticks(range(len(names)), names)
    answer.set_xlabel("mean read-out")
    return figure


def lines(name: str, results: dict) -> list[str]:
    """Return the table of a task."""
    runs = sorted((r for r in results["runs"] if r["task"] == name), key=lambda r: (r["speaker"] or "", r["seed"]))
    if name == "spoken-digits":
        tested = {f"{s} is the test": [r["test"][-1] for r in runs if r["speaker"] == s] for s in SPEAKERS}
        tested["mean of the speakers"] = [mean(each) for each in zip(*tested.values(), strict=False)]
        tested["takes 5 to 9 of all speakers are the test"] = [r["test"][-1] for r in runs if r["speaker"] is None]
    else:
        tested = {"validation recordings": [max(r["validation"]) for r in runs if r["validation"]]}
        tested["official test set"] = [r["test"][-1] for r in runs if r["test"]]
    rows = []
    if name.endswith("smnist"):
        each = runs[0]["validation"]
        places = range(0, len(each), max(len(each) // 6, 1))
        epochs = ", ".join(f"{1 + i}: {each[i]:.1f}" for i in places)
        rows.append(["validation, by epoch, seed 0", epochs, ""])
    for what, seeds in tested.items():
        if seeds:
            spread = f" ± {stdev(seeds):.1f}" if len(seeds) > 1 else ""
            rows.append([what, ", ".join(f"{each:.1f}" for each in seeds), f"{mean(seeds):.1f}{spread}"])
    rows += [[f"published: {source}", "", figure] for source, figure in PUBLISHED.get(name, {}).items()]
    said = common.said(results["machines"][name], f"python benchmarks/tasks.py {name}")
    least, minutes = min(min(r["seconds"]) for r in runs), mean(r["minutes"] for r in runs)
    took = f"{len(runs[0]['train'])} epochs of at least {least:.1f} s, {minutes:.1f} minutes a run beside other work"
    return [*common.table(["", "accuracy of each seed, %", "mean, %"], rows, 2), "", f"{took}; {said}"]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("task", choices=list(PAGES))
    parser.add_argument("--data", type=Path, help="what `cuslayer train TASK --data` takes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    if (options.data is None) != (options.task in WITHOUT_FILES):
        parser.error(f"--data is needed for all tasks but {' and '.join(WITHOUT_FILES)}")
    results = {"runs": [], "machines": {}} | common.load("tasks", options.out)
    results["machines"][options.task] = common.describe()
    speakers = (None, *SPEAKERS) if options.task == "spoken-digits" else (None,)
    known = {(r["seed"], r["speaker"]) for r in results["runs"] if r["task"] == options.task}
    runs = [(seed, speaker) for seed in options.seeds for speaker in speakers if (seed, speaker) not in known]
    threads = max(1, (os.cpu_count() or 1) // options.jobs)
    data = None if options.data is None else options.data.resolve()
    learn = partial(train, options.task, data, options.out == common.RESULTS, threads)
    with ThreadPoolExecutor(options.jobs) as pool:
        for run in pool.map(learn, runs):
            results["runs"].append(run)
            common.save("tasks", results, options.out)
            last = (run["test"] or run["validation"])[-1]
            print(run["seed"], run["speaker"] or "", f"{last:.2f} %, {run['minutes']:.1f} min", flush=True)
    common.show(options.out, PAGES[options.task], options.task, lines(options.task, results))


if __name__ == "__main__":
    main()
