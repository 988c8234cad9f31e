"""The configuration of a training run: YAML with SLAYER's keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from cuslayer import check
from cuslayer.loss import SpikeCountLoss, SpikeTimeLoss
from cuslayer.network import Network
from cuslayer.neuron import SRM
from cuslayer.optim import SGD, Adam, NAdam, Schedule, cosine_decay, step_decay
from cuslayer.tape import Tensor

# SLAYER's names of the neuron's constants, and ours.
_NEURON = {
    "theta": "theta",
    "tauSr": "tau_sr",
    "tauRef": "tau_ref",
    "scaleRef": "scale_ref",
    "tauRho": "tau_rho",
    "scaleRho": "scale_rho",
}


@dataclass(frozen=True)
class OptimizerConfig:
    """Which optimizer moves the weights, and how its learning rate falls.

    Attributes:
        type: "SGD", "Adam" or "NAdam".
        lr: the learning rate at first.
        amsgrad: for Adam, whether the largest second moment counts.
        momentum: for SGD.
        weight_decay: pull towards zero.
        schedule: "constant", "step" (every so many epochs, times factor) or "cosine" (to zero over the run).
        every: epochs between steps.
        factor: of a step.
    """

    type: str = "Adam"
    lr: float = 0.01
    amsgrad: bool = True
    momentum: float = 0.0
    weight_decay: float = 0.0
    schedule: str = "constant"
    every: int = 10
    factor: float = 0.1


@dataclass(frozen=True)
class Config:
    """A training run, whole: what `load_config` reads and `save_config` writes.

    Attributes:
        srm: the neurons, with the step dt (SLAYER's Ts) in ms.
        duration: milliseconds of a recording that count (SLAYER's tSample).
        layers: the words of the network, the input first.
        error: "NumSpikes" or "SpikeTime".
        region: for NumSpikes, the counted time in ms.
        true: for NumSpikes, the count of the right class.
        false: the count of the others.
        optimizer: what moves the weights.
        epochs: how often the training set is seen.
        batch: recordings a step.
        seed: of weights, order and dropout.
        data: the folder of recordings; None for the embedded digits.
        train_list: the label list of the training set, where the folder has several.
        test_list: likewise of the test set.
        out: the folder for results; None for a new one under runs/.
    """

    srm: SRM = field(default_factory=SRM)
    duration: float = 300.0
    layers: tuple[str, ...] = ("34x34x2", "256", "10")
    error: str = "NumSpikes"
    region: tuple[float, float] = (0.0, 300.0)
    true: float = 60.0
    false: float = 10.0
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    epochs: int = 8
    batch: int = 16
    seed: int = 0
    data: str | None = None
    train_list: str | None = None
    test_list: str | None = None
    out: str | None = None

    @property
    def steps(self) -> int:
        """The number of steps of a recording."""
        return round(self.duration / self.srm.dt)

    def network(self) -> Network:
        """Return a new network with weights drawn from the seeded generator."""
        return Network("-".join(self.layers), self.srm)

    def loss(self) -> SpikeCountLoss | SpikeTimeLoss:
        """Return the loss."""
        if self.error == "SpikeTime":
            return SpikeTimeLoss(self.srm)
        return SpikeCountLoss(self.srm, true=self.true, false=self.false, region=self.region)

    def make_optimizer(self, parameters: Iterable[Tensor]) -> SGD | Adam | NAdam:
        """Return the optimizer of the parameters."""
        o = self.optimizer
        lr: float | Schedule = o.lr
        if o.schedule == "step":
            lr = step_decay(o.lr, every=o.every, factor=o.factor)
        elif o.schedule == "cosine":
            lr = cosine_decay(o.lr, epochs=self.epochs)
        if o.type == "SGD":
            return SGD(parameters, lr, momentum=o.momentum, weight_decay=o.weight_decay)
        if o.type == "NAdam":
            return NAdam(parameters, lr, weight_decay=o.weight_decay)
        return Adam(parameters, lr, amsgrad=o.amsgrad, weight_decay=o.weight_decay)

    def with_options(self, **options: Any) -> Config:
        """Return this configuration with the options that are not None in place of its own; `lr` is the optimizer's."""
        given = {name: value for name, value in options.items() if value is not None}
        if "lr" in given:
            given["optimizer"] = replace(self.optimizer, lr=given.pop("lr"))
        return replace(self, **given)

    def to_yaml(self) -> str:
        """Return the YAML text that `load_config` reads back as this configuration."""
        neuron: dict[str, Any] = {"type": "SRMALPHA"}
        neuron |= {theirs: getattr(self.srm, ours) for theirs, ours in _NEURON.items()}
        neuron |= {"gradient": self.srm.gradient, "cutoff": self.srm.cutoff, "refCutoff": self.srm.ref_cutoff}
        error: dict[str, Any] = {"type": self.error}
        if self.error == "NumSpikes":
            error["tgtSpikeRegion"] = {"start": self.region[0], "stop": self.region[1]}
            error["tgtSpikeCount"] = {True: self.true, False: self.false}
        paths = {"in": self.data, "train": self.train_list, "test": self.test_list, "out": self.out}
        optimizer = {_camel(name): value for name, value in asdict(self.optimizer).items()}
        training: dict[str, Any] = {"error": error, "optimizer": optimizer}
        training |= {"epochs": self.epochs, "batch": self.batch, "seed": self.seed}
        training["path"] = {name: value for name, value in paths.items() if value is not None}
        document = {
            "simulation": {"Ts": self.srm.dt, "tSample": self.duration},
            "neuron": neuron,
            "layer": [{"dim": word} for word in self.layers],
            "training": training,
        }
        return yaml.safe_dump(document, sort_keys=False)


def _camel(name: str) -> str:
    return {"weight_decay": "weightDecay"}.get(name, name)


def load_config(path: str | Path) -> Config:
    """Read a training configuration from YAML with SLAYER's keys.

    ``simulation`` (Ts, tSample), ``neuron`` (type SRMALPHA, theta, tauSr, tauRef, scaleRef, tauRho, scaleRho),
    ``layer`` (a list of ``dim: word``, the input first), ``training.error`` (type NumSpikes with tgtSpikeRegion
    {start, stop} and tgtSpikeCount {true, false}, or SpikeTime), and, where wanted, ``training.optimizer``,
    ``training.path`` (in, train, test, out), ``training.epochs``, ``training.batch``, ``training.seed``.

    Raises:
        ValueError: the file is missing or no YAML; a key is unknown (the nearest known one is named) or missing; a
            value is out of range.
        TypeError: a value is of the wrong kind.

    >>> load_config("no/such.yaml")
    Traceback (most recent call last):
        ...
    ValueError: load_config: no/such.yaml is no file
    """
    path = Path(path)
    op = f"load_config: {path}"
    if not path.is_file():
        raise ValueError(f"{op} is no file")
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise ValueError(f"{op} is no YAML: {' '.join(str(problem).split())}") from None
    top = _Section(op, "", document, ("simulation", "neuron", "layer", "training"))
    simulation = top.section("simulation", ("Ts", "tSample", "nSample"))
    training = top.section("training", ("error", "optimizer", "path", "epochs", "batch", "seed"))
    neuron = top.section("neuron", ("type", *_NEURON, "gradient", "cutoff", "refCutoff"))
    neuron.choice("type", ("SRMALPHA",))
    dt = simulation.number("Ts", check.positive)
    usual = Config()
    srm = SRM(
        dt=dt,
        gradient=neuron.choice("gradient", ("slayer", "exact"), usual.srm.gradient),
        cutoff=neuron.number("cutoff", check.not_negative, usual.srm.cutoff),
        ref_cutoff=neuron.number("refCutoff", check.not_negative, usual.srm.ref_cutoff),
        **{
            ours: neuron.number(theirs, check.not_negative if theirs == "scaleRef" else check.positive)
            for theirs, ours in _NEURON.items()
        },
    )
    batch = simulation.integer("nSample", usual.batch)
    return replace(
        usual,
        srm=srm,
        duration=simulation.number("tSample", check.positive),
        layers=_layers(top),
        optimizer=_optimizer(training),
        epochs=training.integer("epochs", usual.epochs),
        batch=training.integer("batch", batch),
        seed=training.integer("seed", usual.seed, least=0),
        **{**_error(training), **_paths(training)},
    )


class _Section:
    """A mapping of a configuration, whose keys are all known."""

    def __init__(self, op: str, name: str, mapping: Any, known: tuple[Any, ...]) -> None:
        self.op, self.name = op, name
        if not isinstance(mapping, dict):
            raise TypeError(f"{op}: {name or 'the document'} must be a mapping, got {type(mapping).__name__}")
        self.mapping = mapping
        for key in mapping:
            if key not in known:
                raise ValueError(f"{op}: {self.path(key)} is an unknown key{check.nearest(key, known)}")

    def path(self, key: Any) -> str:
        word = str(key).lower() if isinstance(key, bool) else str(key)
        return f"{self.name}.{word}" if self.name else word

    def get(self, key: Any, default: Any = None) -> Any:
        if self.mapping.get(key) is not None:
            return self.mapping[key]
        if default is None:
            raise ValueError(f"{self.op}: {self.path(key)} is missing")
        return default

    def section(self, key: str, known: tuple[Any, ...], default: Any = None) -> _Section:
        return _Section(self.op, self.path(key), self.get(key, default), known)

    def number(self, key: Any, rule: Callable[[str, str, Any], float], default: float | None = None) -> float:
        value = self.get(key, default)
        if isinstance(value, str):
            # YAML 1.1 reads 1e-3, which has no dot, as a word.
            with suppress(ValueError):
                value = float(value)
        return rule(self.op, self.path(key), value)

    def integer(self, key: str, default: int, least: int = 1) -> int:
        return check.integer(self.op, self.path(key), self.get(key, default), least=least)

    def choice(self, key: str, known: tuple[str, ...], default: str | None = None) -> str:
        return check.one_of(self.op, self.path(key), self.get(key, default), known)


def _layers(top: _Section) -> tuple[str, ...]:
    layers = top.get("layer")
    if not isinstance(layers, list) or len(layers) < 2:
        raise ValueError(f"{top.op}: layer must be a list of an input and at least one layer")
    sections = (_Section(top.op, f"layer[{i}]", layer, ("dim",)) for i, layer in enumerate(layers))
    return tuple(str(section.get("dim")) for section in sections)


def _error(training: _Section) -> dict[str, Any]:
    # SLAYER's files carry probSlidingWin whatever the type; only its ProbSpikes reads it.
    error = training.section("error", ("type", "tgtSpikeRegion", "tgtSpikeCount", "probSlidingWin"))
    kind = error.choice("type", ("NumSpikes", "SpikeTime"))
    if kind == "SpikeTime":
        return {"error": kind}
    region = error.section("tgtSpikeRegion", ("start", "stop"))
    # YAML reads the bare words true and false as booleans, and quoted ones as strings.
    given = error.get("tgtSpikeCount")
    if isinstance(given, dict):
        given = {{"true": True, "false": False}.get(key, key): value for key, value in given.items()}
    count = _Section(error.op, error.path("tgtSpikeCount"), given, (True, False))
    return {
        "error": kind,
        "region": (region.number("start", check.not_negative), region.number("stop", check.positive)),
        "true": count.number(True, check.not_negative),
        "false": count.number(False, check.not_negative),
    }


def _optimizer(training: _Section) -> OptimizerConfig:
    usual = OptimizerConfig()
    names = tuple(map(_camel, asdict(usual)))
    section = training.section("optimizer", names, default={"type": usual.type})
    amsgrad = section.get("amsgrad", usual.amsgrad)
    if not isinstance(amsgrad, bool):
        raise TypeError(f"{section.op}: {section.path('amsgrad')} must be true or false, got {amsgrad!r}")
    return OptimizerConfig(
        type=section.choice("type", ("SGD", "Adam", "NAdam"), usual.type),
        lr=section.number("lr", check.positive, usual.lr),
        amsgrad=amsgrad,
        momentum=section.number("momentum", check.fraction, usual.momentum),
        weight_decay=section.number("weightDecay", check.not_negative, usual.weight_decay),
        schedule=section.choice("schedule", ("constant", "step", "cosine"), usual.schedule),
        every=section.integer("every", usual.every),
        factor=section.number("factor", check.positive, usual.factor),
    )


def _paths(training: _Section) -> dict[str, Any]:
    section = training.section("path", ("in", "train", "test", "out"), default={"in": None})
    names = {"in": "data", "train": "train_list", "test": "test_list", "out": "out"}
    given = {ours: section.mapping.get(theirs) for theirs, ours in names.items()}
    for theirs, ours in names.items():
        if given[ours] is not None and not isinstance(given[ours], str):
            raise TypeError(f"{section.op}: {section.path(theirs)} must be a path, got {given[ours]!r}")
    return given
