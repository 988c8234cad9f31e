"""The measurements, the libraries and forms that take part, and the aims."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

STEPS = 300  # of 1 ms

NAMES = {
    "ours": "cuslayer",
    "lava": "lava-dl",
    "spikingjelly": "SpikingJelly",
    "snntorch": "snnTorch",
    "norse": "Norse",
    "sinabs": "sinabs",
    "spyx": "Spyx",
}
ON_TORCH = ("lava", "spikingjelly", "snntorch", "norse", "sinabs")
PEERS = (*ON_TORCH, "spyx")


@dataclass(frozen=True)
class Work:
    """A network, the size of a batch, and what is compared with cuslayer's first form: pairs of library and form."""

    title: str
    layers: list[list]
    batch: int
    peers: tuple[tuple[str, str], ...]


_MLP = [["dense", 512], ["dense", 10]]
_CNN = [["conv", 16, 5, 1], ["pool", 2], ["conv", 32, 3, 1], ["pool", 2], ["conv", 64, 3, 1], ["dense", 10]]
_OF_MLP = (
    ("ours", "half"),
    ("lava", "multi-step"),
    ("spikingjelly", "multi-step"),
    ("snntorch", "hoisted"),
    ("snntorch", "plain"),
    ("norse", "hoisted"),
    ("sinabs", "multi-step"),
    ("spyx", "hoisted"),
    ("spyx", "layers"),
    ("spyx", "plain"),
)
# One step at a time wins where a step's maps fit in the cache; both forms run where a library has both.
_OF_CNN = (
    ("ours", "half"),
    ("lava", "multi-step"),
    ("spikingjelly", "multi-step"),
    ("spikingjelly", "plain"),
    ("snntorch", "hoisted"),
    ("snntorch", "plain"),
    ("norse", "plain"),
    ("sinabs", "multi-step"),
    ("spyx", "layers"),
)

TRAINING = {
    "mlp8": Work("MLP 2312-512-10, batch 8", _MLP, 8, _OF_MLP),
    "mlp32": Work("MLP 2312-512-10, batch 32", _MLP, 32, _OF_MLP),
    "cnn8": Work("CNN 16c5-2a-32c3-2a-64c3-10, batch 8", _CNN, 8, _OF_CNN),
}
# The works whose peak of memory is measured.
MEMORY = ("mlp32", "cnn8")
# The networks of the works that need recordings one by one, or in files.
INFERENCE, LOADING = "mlp8", "mlp32"
WORKS = (*TRAINING, "memory", "inference", "loading")

# How many times faster than the fastest of some peers; how many times less memory than the leanest; milliseconds.
_FASTER = (
    ("mlp8", PEERS, 4.0),
    ("mlp8", ON_TORCH, 10.0),
    ("mlp32", PEERS, 4.5),
    ("mlp32", ON_TORCH, 8.0),
    ("cnn8", PEERS, 4.0),
)
_LEANER, _INFERENCE_MS, _LOADING_MS = 3.0, 3.0, 10.0


def aims(found: dict) -> list[dict]:
    """Return what is aimed at, what was found, and whether that is enough, for the works that were measured.

    Times are compared with the fastest form of the fastest peer, memory with the leanest form of the leanest peer, of
    those that were measured, which are named.
    """
    rows = []
    for name, peers, factor in _FASTER:
        ran = [r for r in found.get(name, {}).get("rows", ()) if r["peer"] in peers and "times" in r]
        if ran:
            best = min(ran, key=lambda r: r["times"])
            what = f"{TRAINING[name].title}: faster than {NAMES[best['peer']]}, {_best('fastest', ran)}"
            rows.append(_row(what, f"{factor:g} times", f"{best['times']:.1f} times", best["times"] >= factor))
    for name, peaks in found.get("memory", {}).get("works", {}).items():
        ran = [r for r in peaks if r["peer"] != "ours" and "bytes" in r]
        if ran:
            leanest = min(ran, key=lambda r: r["bytes"])
            ours = min((r for r in peaks if r["peer"] == "ours" and "bytes" in r), key=lambda r: r["bytes"])
            form, peer = ours["form"].removeprefix("the same, "), NAMES[leanest["peer"]]
            what = f"{TRAINING[name].title}: less memory ({form}) than {peer} ({leanest['form']})"
            what += f", {_best('leanest', ran)}"
            times = leanest["bytes"] / ours["bytes"]
            rows.append(_row(what, f"{_LEANER:g} times", f"{times:.1f} times", times >= _LEANER))
    if "inference" in found:
        ms = 1e3 * median(found["inference"]["seconds"])
        what = "inference, MLP, batch 1, from events to the class"
        rows.append(_row(what, f"{_INFERENCE_MS:g} ms", f"{ms:.2f} ms", ms < _INFERENCE_MS))
    if "loading" in found:
        seconds = {name: median(values) for name, values in found["loading"]["seconds"].items()}
        ms = 1e3 * seconds["batch"]
        what = f"loading, from files to a batch of {found['loading']['batch']}"
        rows.append(_row(what, f"{_LOADING_MS:g} ms", f"{ms:.2f} ms", ms < _LOADING_MS))
        extra = seconds["step_from_loader"] - seconds["step_from_memory"]
        half = seconds["batch"] / 2
        what = f"loading in the background: added to a step of {1e3 * seconds['step_from_memory']:.1f} ms"
        rows.append(_row(what, f"{1e3 * half:.1f} ms", f"{1e3 * extra:.2f} ms", extra < half))
    return rows


def _best(word: str, rows: list[dict]) -> str:
    measured = [NAMES[peer] for peer in PEERS if peer in {r["peer"] for r in rows}]
    return f"the {word} of {', '.join(measured)}" if len(measured) > 1 else "the only peer measured"


def _row(what: str, aim: str, found: str, met: bool) -> dict:
    return {"what": what, "aim": aim, "found": found, "met": met}
