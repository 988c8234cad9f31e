"""`load_config`: read a training configuration from YAML with SLAYER's keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

from cuslayer import check
from cuslayer.data.catalog import NAMES as KNOWN_SETS
from cuslayer.layers.batch_norm import SCALES
from cuslayer.loss.read_out import OVER
from cuslayer.network.notation import GRAMMAR, TAKES, Word, article, kind_of
from cuslayer.neurons.base import KINDS, Neuron
from cuslayer.neurons.names import make_neuron, neuron_constants
from cuslayer.training import named
from cuslayer.training.config import (
    INITIALIZATIONS,
    LAYER_OPTIONS,
    OPTIMIZERS,
    Config,
    OptimizerConfig,
    optimizer_key,
)
from cuslayer.training.params import Params
from cuslayer.training.sound import read_sound
from cuslayer.training.yaml_sections import Section, UnknownKey, plain_number, read_yaml

_TRAINING = (
    *("error", "optimizer", "path", "epochs", "batch", "seed", "initialization", "firingRate", "checkpoint"),
    *("parallel", "sparsity"),
)
# SLAYER's sections, of which a file has all or none; `training` holds the last.
_SLAYERS = ("simulation", "neuron", "training", "training.error")
_ALL_OR_NONE = (
    "; a file with one of simulation, neuron and training.error needs all three, a file with none of them has defaults"
)
_MOST_STEPS = 2**31
_GRAMMAR = GRAMMAR.replace("HxWxC", "WxHxC")


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
        op, document = "load_config", Params(source).plain()
    else:
        path: Any = named.find("load_config", source)
        document = read_yaml("load_config", path)
        op = f"load_config: {Path(path)}"
    try:
        return _read_all(op, _with_defaults(document))
    except check.MissingKey as problem:
        hint = _ALL_OR_NONE if problem.path in _SLAYERS and document.get("layer") is not None else ""
        raise ValueError(f"{problem}{hint}") from None
    except UnknownKey as problem:
        elsewhere = None if problem.near else _find(_defaults(), problem.key)
        raise ValueError(f"{problem}{f'; it belongs to {elsewhere}' if elsewhere else ''}") from None


def _read_all(op: str, document: Any) -> Config:
    """Return the configuration of a document; of several errors, a missing key is the last to be raised.

    It may be missing because it is misspelled, here or in a later section.
    """
    try:
        return _read(op, document)
    except check.MissingKey as problem:
        missing = problem
    with suppress(check.MissingKey):
        _read(op, _completed(document))
    raise missing


def _defaults() -> dict[str, Any]:
    """Return the default configuration as the document of a file."""
    found: dict[str, Any] = yaml.safe_load(Config().to_yaml())
    return found


def _with_defaults(document: Any) -> Any:
    """Return a document that has layers and none of SLAYER's sections with the default sections."""
    if not isinstance(document, dict) or document.get("layer") is None:
        return document
    training = document.get("training") or {}
    if "simulation" in document or "neuron" in document or not isinstance(training, dict) or "error" in training:
        return document
    default = _defaults()
    sections = {name: default[name] for name in ("simulation", "neuron")}
    return {**document, **sections, "training": {**training, "error": default["training"]["error"]}}


def _completed(document: Any) -> Any:
    """Return a document in which defaults stand for the keys that are missing."""
    default = _defaults()
    neuron = document.get("neuron")
    if isinstance(neuron, dict):

        def fits(name: str) -> tuple[bool, int]:
            return name == neuron.get("type"), len(getattr(KINDS[name].names, "all", {}).keys() & neuron)

        default["neuron"] = neuron_constants(KINDS[max(KINDS, key=fits)]())
    return _merged(default, document)


def _merged(default: Any, given: Any) -> Any:
    """Return a mapping with the items of another for its missing keys, at every depth."""
    if not isinstance(default, dict) or not isinstance(given, dict):
        return default if given is None else given
    return {key: _merged(default.get(key), given.get(key)) for key in {**default, **given}}


def _find(document: Any, key: Any, path: str = "") -> str | None:
    """Return the path of the mapping that has a key, within nested mappings."""
    for name, value in document.items() if isinstance(document, dict) else ():
        if name == key and type(name) is type(key) and path:
            return path
        found = _find(value, key, f"{path}.{name}" if path else str(name))
        if found:
            return found
    return None


def _read(op: str, document: Any) -> Config:
    """Return the configuration of a document; `op` begins every error."""
    top = Section(op, "", document, ("simulation", "neuron", "layer", "sound", "training"))
    simulation = top.section("simulation", ("Ts", "tSample", "nSample"))
    training = top.section("training", _TRAINING)
    dt = simulation.number("Ts", check.positive)
    default = Config()
    duration = simulation.number("tSample", check.positive)
    if duration / dt >= _MOST_STEPS:
        rule = f"must be less than 2**31 steps of {simulation.path('Ts')}"
        raise ValueError(f"{op}: {simulation.path('tSample')} {rule}, got {duration:g} ms in steps of {dt:g} ms")
    return replace(
        default,
        neuron=_neuron(top, dt),
        duration=duration,
        layers=_layers(top, dt),
        sound=read_sound(top, dt, duration),
        optimizer=_optimizer(training),
        epochs=training.integer("epochs", default.epochs),
        batch=training.integer("batch", simulation.integer("nSample", default.batch)),
        seed=training.integer("seed", default.seed, least=0),
        initialization=training.choice("initialization", INITIALIZATIONS, default.initialization),
        firing_rate=training.number("firingRate", check.positive, default.firing_rate),
        sparsity=_sparsity(training),
        **{**_error(training, duration), **_paths(training), **_checkpoint(training), **_parallel(training)},
    )


def _neuron(parent: Section, dt: float) -> Neuron:
    """Return the neuron under the key "neuron" of a section."""
    known = {key for kind in KINDS.values() if kind.names for key in kind.names.all}
    section = parent.section("neuron", ("type", *known))
    numbers = {key: plain_number(value) for key, value in section.mapping.items()}
    return make_neuron(f"{section.op}: {section.path('')}", numbers, dt)


def _layers(top: Section, dt: float) -> tuple[Word, ...]:
    layers = top.mapping.get("layer")
    if layers is None:
        return ()
    if not isinstance(layers, list) or len(layers) < 2:
        raise ValueError(f"{top.op}: layer must be a list of an input and at least one layer")
    sections = (Section(top.op, f"layer[{i}]", layer, ("dim", *LAYER_OPTIONS)) for i, layer in enumerate(layers))
    words = tuple(_word(section, dt) for section in sections)
    for i, word in enumerate(words):
        plain = word.kind == "dense" and not word.options()
        if i == 0 and not (word.kind == "input" or plain):
            raise ValueError(f"{top.op}: layer[0] must be an input alone, WxHxC or N, got {word.text!r}")
        if i > 0 and word.kind == "input":
            raise ValueError(f"{top.op}: layer[{i}].dim {word.text!r} is an input, which must be the first word")
    return words


def _word(section: Section, dt: float) -> Word:
    text = str(section.get("dim"))
    kind = kind_of(f"{section.op}: {section.path('dim')} {text!r}", text, _GRAMMAR)
    options: dict[str, Any] = {}
    for theirs, ours in LAYER_OPTIONS.items():
        if section.mapping.get(theirs) is None:
            continue
        if ours not in TAKES[kind]:
            raise ValueError(f"{section.op}: {section.path(theirs)} is not for {text!r}, {article(kind)} word")
        options[ours] = _option(section, theirs, dt)
    return Word(text, **options)


def _option(section: Section, key: str, dt: float) -> Any:
    """Return the value of a layer's option."""
    if key == "neuron":
        return _neuron(section, dt)
    if key in ("delay", "bias"):
        return section.flag(key, default=False)
    if key in ("groups", "winners"):
        return section.integer(key)
    if key == "norm":
        return section.choice(key, SCALES)
    if key in ("wScale", "tau", "recurrentDelay"):
        return section.number(key, check.positive)
    if key in ("maxDelay", "initialDelay"):
        return section.number(key, check.not_negative)
    if key == "dropout":
        return section.number(key, check.fraction)
    value = section.get(key)
    pair = check.pair(section.op, section.path(key), value, least=0 if key == "padding" else 1)
    return pair if isinstance(value, list) else pair[0]


def _error(training: Section, duration: float) -> dict[str, Any]:
    known = ("type", "over", "tgtSpikeRegion", "tgtSpikeCount", "probSlidingWin", "numSpikesScale", "piecewise")
    error = training.section("error", known)
    kind = error.choice("type", ("NumSpikes", "ProbSpikes", "SpikeTime", "CrossEntropy"))
    if kind == "SpikeTime":
        return {"error": kind}
    if kind == "CrossEntropy" and error.mapping.get("tgtSpikeRegion") is None:
        return {"error": kind, "over": error.choice("over", OVER, "max"), "region": (0.0, duration)}
    region = error.section("tgtSpikeRegion", ("start", "stop"))
    edges = (region.number("start", check.not_negative), region.number("stop", check.positive))
    found: dict[str, Any] = {"error": kind, "region": edges}
    # SLAYER's files have the window with every type; only ProbSpikes needs it.
    if kind == "ProbSpikes" or error.mapping.get("probSlidingWin") is not None:
        found["window"] = error.number("probSlidingWin", check.positive)
    if kind == "CrossEntropy":
        found["over"] = error.choice("over", OVER, "max")
    if kind == "NumSpikes":
        # YAML reads the bare words true and false as booleans, and quoted ones as strings.
        given = error.get("tgtSpikeCount")
        if isinstance(given, dict):
            given = {{"true": True, "false": False}.get(key, key): value for key, value in given.items()}
        count = Section(error.op, error.path("tgtSpikeCount"), given, (True, False))
        found |= {str(key).lower(): count.number(key, check.not_negative) for key in (True, False)}
        found["count_scale"] = error.number("numSpikesScale", check.positive, 1.0)
        found["piecewise"] = error.flag("piecewise", default=False)
    return found


def _optimizer(training: Section) -> OptimizerConfig:
    default = OptimizerConfig()
    names = tuple(map(optimizer_key, asdict(default)))
    section = training.section("optimizer", names, default={"type": default.type})
    constant = section.mapping.get("momentumDecay") == "none"
    return OptimizerConfig(
        type=section.choice("type", OPTIMIZERS, default.type),
        lr=_optional(section, "lr", lambda: section.number("lr", check.positive)),
        relative=_optional(section, "relative", lambda: section.flag("relative", False)),
        warmup=_optional(section, "warmup", lambda: section.integer("warmup", least=0)),
        schedule=_optional(section, "schedule", lambda: section.choice("schedule", ("constant", "step", "cosine"))),
        amsgrad=section.flag("amsgrad", default.amsgrad),
        momentum=section.number("momentum", check.fraction, default.momentum),
        momentum_decay=None
        if constant
        else section.number("momentumDecay", check.not_negative, default.momentum_decay),
        weight_decay=section.number("weightDecay", check.not_negative, default.weight_decay),
        every=section.integer("every", default.every),
        factor=section.number("factor", check.positive, default.factor),
        clip_norm=_optional(section, "clipNorm", lambda: section.number("clipNorm", check.positive)),
        clip_value=_optional(section, "clipValue", lambda: section.number("clipValue", check.positive)),
    )


def _optional(section: Section, key: str, read: Callable[[], Any]) -> Any:
    """Return the value of a key, None if it is missing."""
    return None if section.mapping.get(key) is None else read()


def _checkpoint(training: Section) -> dict[str, Any]:
    default = Config().checkpoint_minutes
    section = training.section("checkpoint", ("minutes", "steps"), default={"minutes": default})
    return {
        "checkpoint_minutes": section.number("minutes", check.positive, default),
        "checkpoint_steps": _optional(section, "steps", lambda: section.integer("steps")),
    }


def _sparsity(training: Section) -> tuple[float, float] | None:
    if training.mapping.get("sparsity") is None:
        return None
    section = training.section("sparsity", ("weight", "allowed"))
    return section.number("weight", check.not_negative), section.number("allowed", check.not_negative, 0.0)


def _parallel(training: Section) -> dict[str, Any]:
    if training.mapping.get("parallel") is None:
        return {}
    section = training.section("parallel", ("micro", "fast"))
    return {"micro": section.integer("micro"), "fast": section.flag("fast", default=False)}


def _paths(training: Section) -> dict[str, Any]:
    names = {"dataset": "dataset", "in": "data", "train": "train_list", "test": "test_list", "out": "out"}
    section = training.section("path", tuple(names), default={"in": None})
    given = {ours: section.mapping.get(theirs) for theirs, ours in names.items()}
    for theirs, ours in names.items():
        if given[ours] is not None and not isinstance(given[ours], str):
            raise TypeError(f"{section.op}: {section.path(theirs)} must be a path, got {given[ours]!r}")
    if given["dataset"] is not None:
        section.choice("dataset", KNOWN_SETS)
        for theirs in ("train", "test"):
            if given[names[theirs]] is not None:
                got = f"{section.path('dataset')} is {given['dataset']}"
                raise ValueError(f"{section.op}: {section.path(theirs)} is for a folder of recordings, {got}")
    return given
