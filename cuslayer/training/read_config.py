"""`load_config`: read a training configuration from YAML with SLAYER's keys."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from cuslayer import check
from cuslayer.data.catalog import NAMES as KNOWN_SETS
from cuslayer.layers.batch_norm import SCALES
from cuslayer.network.notation import GRAMMAR, TAKES, Word, article, kind_of
from cuslayer.neurons.base import KINDS, Neuron
from cuslayer.neurons.names import make_neuron
from cuslayer.training import sound
from cuslayer.training.config import KEYS, LAYER_OPTIONS, OPTIMIZER_KEYS, Config
from cuslayer.training.fields import (
    Key,
    Rule,
    check_keys,
    choice,
    counted,
    flag,
    fraction,
    not_negative,
    plain_number,
    positive,
    read_fields,
    tree_of,
)
from cuslayer.training.params import Params
from cuslayer.training.yaml_document import read_yaml

_ALL_OR_NONE = (
    "; a file with one of simulation, neuron and training.error needs all three, a file with none of them has defaults"
)
# The sections of SLAYER's files.
_SLAYERS = ("simulation", "neuron", "training", "training.error")
_MOST_STEPS = 2**31
_GRAMMAR = GRAMMAR.replace("HxWxC", "WxHxC")
_READ = (
    Key("simulation.Ts", "dt", positive, "always"),
    Key("simulation.nSample", "batch", counted),
    *KEYS,
)
_NEURON = tree_of(["type", *(key for kind in KINDS.values() if kind.names for key in kind.names.all)])
_TREE = tree_of([key.path for key in _READ] + ["layer"] + [f"training.optimizer.{key.path}" for key in OPTIMIZER_KEYS])
_TREE |= {"neuron": _NEURON, "sound": tree_of([*(key.path for key in sound.KEYS), "test"])}
_LAYER = tree_of(["dim", *LAYER_OPTIONS]) | {"neuron": _NEURON}


def _pair(name: str, value: Any, *, least: int) -> Any:
    found = check.pair(name, value, least=least)
    return found if isinstance(value, list) else found[0]


_LAYER_RULES: dict[str, Rule] = dict.fromkeys(("stride", "dilation"), partial(_pair, least=1))
_LAYER_RULES |= {"padding": partial(_pair, least=0), "norm": choice(SCALES), "dropout": fraction}
_LAYER_RULES |= dict.fromkeys(("groups", "winners"), counted) | dict.fromkeys(("delay", "bias"), flag)
_LAYER_RULES |= dict.fromkeys(("wScale", "tau", "recurrentDelay"), positive)
_LAYER_RULES |= dict.fromkeys(("maxDelay", "initialDelay"), not_negative)

# The folder of the configurations that have a name; in a checkout it is not within the package.
_INSTALLED = Path(__file__).with_name("configs")
_CONFIGS = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[2] / "examples" / "configs"


def named_configs() -> dict[str, Path]:
    """Return the files of the configurations that have a name."""
    return {path.stem: path for path in sorted(_CONFIGS.glob("*.yaml"))}


@check.operation
def load_config(source: str | Path | Mapping[Any, Any]) -> Config:
    """Read a training configuration from YAML with SLAYER's keys.

    ``simulation`` (Ts, tSample), ``neuron`` (type SRMALPHA with theta, tauSr, tauRef, scaleRef, tauRho, scaleRho, or
    type LOIHI with vThMant, vDecay, iDecay, refDelay, wgtExp, tauRho, scaleRho), ``training.error`` (type NumSpikes
    with tgtSpikeRegion {start, stop}, tgtSpikeCount {true, false} and optionally numSpikesScale and piecewise,
    ProbSpikes with tgtSpikeRegion and probSlidingWin, SpikeTime, or CrossEntropy with optionally over and
    tgtSpikeRegion), and optionally ``layer``, ``sound`` (the options of `SoundConfig`, for files of sounds),
    ``training.optimizer``, ``training.path`` (in, train, test, out, and dataset, a name that `cs.data.load` knows),
    ``training.epochs``, ``training.batch``, ``training.seed``, ``training.initialization`` (calibrated or slayer),
    ``training.firingRate`` (Hz), ``training.checkpoint`` (minutes, steps: how often a checkpoint is written),
    ``training.parallel`` (micro, fast: see `DataParallel`) and ``training.sparsity`` (weight, allowed: see
    `SparsityLoss`).

    A file with ``layer`` and neither ``simulation``, ``neuron`` nor ``training.error`` has the values of `Config` for
    them: a list of layers is a whole configuration. A file with one of the three needs all three.

    ``layer`` is a list of layers, the input first. ``dim`` is WxHxC (columns first, as in SLAYER) or N for the input;
    N for a dense layer, NcK for a convolution, Ka for a pooling, Navg for a population vote, Nout for a read-out.
    Depending on the layer, the options are stride, padding, dilation (one number, or [rows, columns]), groups, wScale,
    bias (true: trained), norm (std, power or none), winners, tau (ms, of a read-out), recurrentDelay (ms), delay (true:
    trained), maxDelay and initialDelay (ms), dropout and a neuron of its own; see `Word`.

    Args:
        source: the path of a YAML file; a word that names one of cuslayer's configurations: digits, nmnist, dvsgesture,
            cifar10dvs, shd, ssc, ntidigits, spoken-digits; or a mapping of the same keys, such as `Params`.

    Raises:
        ValueError: the file is missing or is not YAML; a key or a word is unknown (the message shows the nearest known
            key, or the grammar of the words) or missing; a value is out of range.
        TypeError: a value is of the wrong type.

    >>> load_config("no/such.yaml")
    Traceback (most recent call last):
        ...
    ValueError: load_config: no/such.yaml is no file
    """
    if isinstance(source, Mapping):
        return _read(check_keys(Params(source).plain(), _TREE, _TREE))
    path = check.path("source", _find(source))
    document = read_yaml(path)
    with check.about(path):
        return _read(check_keys(document, _TREE, _TREE))


def _find(source: Any) -> Any:
    """Return the file of the configuration that a word names; anything else, and the path of a file, unchanged."""
    if not isinstance(source, str) or not re.fullmatch(r"\w[\w-]{0,63}", source) or os.path.isfile(source):
        return source
    known = named_configs()
    if source in known:
        return known[source]
    hint = check.nearest(source, known)
    raise ValueError(f"{source!r} is no file, nor one of the configurations {', '.join(known)}{hint}")


def _read(document: dict[str, Any]) -> Config:
    """Return the configuration of a document; of several errors, a missing key is the last to be raised."""
    training = document.get("training") or {}
    # A list of layers is a whole configuration.
    usual = document.get("layer") is not None and not (
        "simulation" in document or "neuron" in document or "error" in training
    )
    missing = list[str]()
    kind = (training.get("error") or {}).get("type") or Config.error
    found = read_fields(_READ, document, kind=kind if isinstance(kind, str) else "", missing=missing)
    dt, default = found.pop("dt", 1.0), Config()
    if usual:
        missing = [path for path in missing if path not in _SLAYERS]
        found["neuron"] = default.neuron
    elif document.get("neuron") is None:
        missing.insert(next((i for i, path in enumerate(missing) if path.startswith("training")), 99), "neuron")
    else:
        try:
            found["neuron"] = _neuron("neuron.", document["neuron"], dt)
        except check.MissingKey as problem:
            missing.append(problem.path)
    duration = found.setdefault("duration", default.duration)
    if duration / dt >= _MOST_STEPS:
        rule = "must be less than 2**31 steps of simulation.Ts"
        raise ValueError(f"simulation.tSample {rule}, got {duration:g} ms in steps of {dt:g} ms")
    found["layers"] = _layers(document.get("layer"), dt, missing)
    if document.get("sound") is not None:
        found["sound"] = sound.read_sound(document["sound"], dt, duration)
    if "sparsity" in found:
        found["sparsity"] = (*found["sparsity"], 0.0)[:2]
    if kind == "CrossEntropy":
        found.setdefault("region", (0.0, duration))
    if found.get("dataset") is not None:
        check.one_of("training.path.dataset", found["dataset"], KNOWN_SETS)
        for key, name in (("train", "train_list"), ("test", "test_list")):
            if name in found:
                got = f"training.path.dataset is {found['dataset']}"
                raise ValueError(f"training.path.{key} is for a folder of recordings, {got}")
    if missing:
        hint = _ALL_OR_NONE if missing[0] in _SLAYERS and document.get("layer") is not None else ""
        raise ValueError(f"{missing[0]} is missing{hint}")
    return Config(**found)


def _neuron(at: str, constants: Mapping[str, Any], dt: float) -> Neuron:
    return make_neuron(at, {key: plain_number(value) for key, value in constants.items()}, dt)


def _layers(layers: Any, dt: float, missing: list[str]) -> tuple[Word, ...]:
    if layers is None:
        return ()
    if not isinstance(layers, list) or len(layers) < 2:
        raise ValueError("layer must be a list of an input and at least one layer")
    sections = [check_keys(layer, _LAYER, _TREE, f"layer[{i}]") for i, layer in enumerate(layers)]
    missing += [f"layer[{i}].dim" for i, section in enumerate(sections) if section.get("dim") is None]
    if any(section.get("dim") is None for section in sections):
        return ()
    words = [_word(f"layer[{i}]", section, dt) for i, section in enumerate(sections)]
    for i, word in enumerate(words):
        plain = word.kind == "dense" and not word.options()
        if i == 0 and not (word.kind == "input" or plain):
            raise ValueError(f"layer[0] must be an input alone, WxHxC or N, got {word.text!r}")
        if i > 0 and word.kind == "input":
            raise ValueError(f"layer[{i}].dim {word.text!r} is an input, which must be the first word")
    return tuple(words)


def _word(at: str, section: Mapping[str, Any], dt: float) -> Word:
    text, options = str(section["dim"]), dict[str, Any]()
    kind = kind_of(f"{at}.dim {text!r}", text, _GRAMMAR)
    for key, value in section.items():
        if key == "dim" or value is None:
            continue
        if LAYER_OPTIONS[key] not in TAKES[kind]:
            raise ValueError(f"{at}.{key} is not for {text!r}, {article(kind)} word")
        rule = _LAYER_RULES.get(key)
        value = _neuron(f"{at}.neuron.", value, dt) if rule is None else rule(f"{at}.{key}", value)
        options[LAYER_OPTIONS[key]] = value
    return Word(text, **options)
