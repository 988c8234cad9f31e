"""Train networks on spoken digits, and compare what delays, adaptation and recurrence are worth.

    python benchmarks/spoken_digits.py recordings.npz                       # all runs: two hours
    python benchmarks/spoken_digits.py recordings.npz --only delays --seeds 0
    python benchmarks/spoken_digits.py recordings.npz --speakers theo lucas --only delays

Each run is `cuslayer train CONFIGURATION --data recordings.npz --seed SEED`, one after the other. The configuration is
`spoken-digits` with other hidden layers; takes 5 to 9 of all speakers are the test set, the others train. With
`--speakers` the best network, or those of `--only`, is trained without the recordings of a speaker, which are the test
set then. Runs that the results have already are not repeated. Figures are those of the last epoch.

The figures, with versions and machine, go to benchmarks/results/spoken_digits.json and docs/spoken-digits.md.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import common
import yaml
from learning import trained

CONFIG = common.ROOT / "examples" / "configs" / "spoken-digits.yaml"
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
DELAYS = {"delay": True, "maxDelay": 200.0, "initialDelay": 120.0}
# Neurons without adaptation, whose initial weights are the usual ones.
PLAIN = {"type": "SRMALPHA", "theta": 10.0, "tauSr": 40.0, "tauRef": 10.0, "scaleRef": 2.0}
PLAIN |= {"tauRho": 1.0, "scaleRho": 1.0}
DENSE = {"neuron": PLAIN, "wScale": None, "spread": None}
# The hidden layers of each kind: their sizes and other options come from the configuration.
KINDS: dict[str, tuple[str, str, dict]] = {
    "dense": ("two dense layers", "{}", DENSE),
    "delays": ("with trained delays", "{}", DENSE | DELAYS),
    "adaptive": ("with adaptive neurons", "{}", {}),
    "recurrent": ("with recurrent neurons", "{}r", {}),
}
BEST = "recurrent"


def configuration(kind: str, speaker: str | None, epochs: int | None) -> dict:
    """Return the configuration of a run."""
    found = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    first, *hidden, last = found["layer"]
    _, word, options = KINDS[kind]
    words = [layer | {"dim": word.format(layer["dim"].rstrip("r"))} | options for layer in hidden]
    found["layer"] = [first, *({k: v for k, v in each.items() if v is not None} for each in words), last]
    if speaker is not None:
        found["sound"]["test"] = {"speaker": [speaker]}
    if epochs is not None:
        found["training"]["epochs"] = epochs
    return found


def train(data: Path, kind: str, seed: int, speaker: str | None, epochs: int | None) -> dict:
    """Return the accuracies in % and the seconds of the epochs of a run of the command line, and its whole time."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "spoken.yaml"
        file.write_text(yaml.safe_dump(configuration(kind, speaker, epochs)), encoding="utf-8")
        found = trained(str(file), "--data", str(data), "--seed", str(seed))
    minutes = (time.perf_counter() - start) / 60
    return {"kind": kind, "seed": seed, "speaker": speaker, **found, "minutes": minutes}


def lines(results: dict) -> list[str]:
    """Return the tables of the page."""
    runs, rows = results["runs"], []
    for kind, (name, *_) in KINDS.items():
        mine = sorted((r for r in runs if r["kind"] == kind and r["speaker"] is None), key=lambda r: r["seed"])
        if mine:
            last = [r["test"][-1] for r in mine]
            cells = [", ".join(f"{a:.1f}" for a in last), f"{mean(last):.1f}"]
            cells += [f"{mean(r['train'][-1] for r in mine):.1f}", str(len(mine[0]["train"]))]
            rows.append([name, *cells, f"{mean(r['minutes'] for r in mine):.1f}"])
    heads = ["network", "test accuracy of each seed, %", "mean, %", "in training, %", "epochs", "minutes"]
    found = common.table(heads, rows, 2)
    left_out = {(r["kind"], r["speaker"]): r["test"][-1] for r in runs if r["speaker"] is not None}
    kinds = [kind for kind in KINDS if any(kind == given for given, _ in left_out)]
    if kinds:
        names, cells = sorted({speaker for _, speaker in left_out}), []
        for name, speakers in [*((name, [name]) for name in names), ("mean", names)]:
            known = [[left_out[kind, s] for s in speakers if (kind, s) in left_out] for kind in kinds]
            cells.append([name, *(f"{mean(k):.1f}" if len(k) == len(speakers) else "" for k in known)])
        heads = ["not heard in training", *(f"{KINDS[kind][0]}, test accuracy, %" for kind in kinds)]
        found += ["", *common.table(heads, cells, 1)]
    return [*found, "", common.said(results["machine"], "python benchmarks/spoken_digits.py recordings.npz")]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("data", type=Path, help="recordings.npz, see docs/spoken-digits.md")
    parser.add_argument("--only", nargs="+", choices=list(KINDS), default=None, metavar="KIND")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--speakers", nargs="+", choices=SPEAKERS, default=None, metavar="NAME")
    parser.add_argument("--epochs", type=int, help="by default those of the configuration")
    options = parser.parse_args(arguments)
    tasks: list[tuple[str, int, str | None]] = []
    if not options.speakers:
        tasks += [(kind, seed, None) for kind in options.only or KINDS for seed in options.seeds]
    if options.speakers or not options.only:
        kinds, speakers = options.only or [BEST], options.speakers or SPEAKERS
        tasks += [(kind, options.seeds[0], speaker) for kind in kinds for speaker in speakers]
    results = {"runs": []} | common.load("spoken_digits", options.out) | {"machine": common.describe()}
    for kind, seed, speaker in tasks:
        if any((r["kind"], r["seed"], r["speaker"]) == (kind, seed, speaker) for r in results["runs"]):
            continue
        run = train(options.data.resolve(), kind, seed, speaker, options.epochs)
        results["runs"].append(run)
        common.save("spoken_digits", results, options.out)
        print(kind, seed, speaker or "", f"{run['test'][-1]:.2f} %", f"{run['minutes']:.1f} min", flush=True)
    common.show(options.out, "spoken-digits", "spoken-digits", lines(results))


if __name__ == "__main__":
    main()
