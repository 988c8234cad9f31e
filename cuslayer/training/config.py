"""The configuration of a training run: `Config`, with reading (`load_config`) and writing of YAML."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

import yaml

from cuslayer._base import check
from cuslayer._base.keys import (
    a_path,
    as_given,
    check_keys,
    choice,
    counted,
    flag,
    from_zero,
    key,
    keys,
    known,
    plain_number,
    read,
    write,
)
from cuslayer._tape import Tensor
from cuslayer.data.catalog import NAMES as KNOWN_SETS
from cuslayer.loss import CrossEntropyLoss, ProbabilityWindowLoss, SpikeCountLoss, SpikeTimeLoss
from cuslayer.loss.base import OVER
from cuslayer.network.notation import GRAMMAR, TAKES, Network, Word, article, kind_of, read_words, rows_first
from cuslayer.network.synaptic import SparsityLoss
from cuslayer.neurons.base import KINDS, Neuron
from cuslayer.neurons.names import make_neuron, neuron_constants
from cuslayer.neurons.srm import SRM
from cuslayer.optim import SGD, Adam, NAdam, Schedule, cosine_decay, step_decay
from cuslayer.training.params import Params, read_yaml
from cuslayer.training.sound import SoundConfig, numbers, read_sound
from cuslayer.training.stats import Stats, plateaus

# The default rate of Adam and NAdam, which fits every network with calibrated initial weights.
_DEFAULT_RATE: dict[str, Any] = {"lr": 0.1, "relative": True, "warmup": 30, "schedule": "cosine"}
# With a user's rate, the other options have these defaults.
_PLAIN_RATE: dict[str, Any] = {"lr": 0.01, "relative": False, "warmup": 0, "schedule": "constant"}
# Options of only some optimizers, and these optimizers' types.
_OF_TYPES = {"momentum": ("SGD",), "amsgrad": ("Adam", "NAdam"), "momentum_decay": ("NAdam",)}
OPTIMIZERS = ("SGD", "Adam", "NAdam")


def _or_none(name: str, value: Any) -> float | None:
    return None if value == "none" else check.not_negative(name, value)


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer and the schedule of its learning rate.

    Without lr, Adam and NAdam have a relative rate of 0.1, which rises in the first 30 steps and falls to zero along a
    cosine. With lr, and for SGD, the rate is lr (by default 0.01) in each step, unless other options change it.

    Attributes:
        type: "SGD", "Adam" or "NAdam".
        lr: the initial learning rate; None for the default.
        amsgrad: whether to divide by the largest second moment so far; for Adam, and NAdam without momentum_decay.
        momentum: momentum of SGD.
        weight_decay: weight decay.
        schedule: "constant", "step" (multiplied by `factor` every `every` epochs), "cosine" (to zero over the run) or
            "plateau" (multiplied by `factor` after `every` epochs without a better validation score). None for the
            default.
        every: epochs between the steps of "step", or without a better score for "plateau".
        factor: factor of each step in "step" and "plateau".
        momentum_decay: for NAdam; None, in YAML ``none``, for SLAYER-PyTorch's constant momentum.
        relative: whether lr is a fraction of each weight's initial root mean square; None for the default.
        warmup: the number of steps in which the rate rises linearly to lr, at most a tenth of the run's steps; None for
            the default.
        clip_norm: the largest joint norm of all gradients; larger ones are scaled to it. None for no limit.
        clip_value: the largest absolute value of an element of a gradient; None for no limit.
    """

    type: str = field(default="Adam", metadata=key(choice(OPTIMIZERS)))
    lr: float | None = field(default=None, metadata=key(check.positive))
    amsgrad: bool = field(default=True, metadata=key(flag))
    momentum: float = field(default=0.0, metadata=key(check.fraction))
    weight_decay: float = field(default=0.0, metadata=key(check.not_negative))
    schedule: str | None = field(default=None, metadata=key(choice(("constant", "step", "cosine", "plateau"))))
    every: int = field(default=10, metadata=key(counted))
    factor: float = field(default=0.1, metadata=key(check.positive))
    momentum_decay: float | None = field(
        default=0.004, metadata=key(_or_none, write=lambda decay: "none" if decay is None else decay)
    )
    relative: bool | None = field(default=None, metadata=key(flag))
    warmup: int | None = field(default=None, metadata=key(from_zero))
    clip_norm: float | None = field(default=None, metadata=key(check.positive))
    clip_value: float | None = field(default=None, metadata=key(check.positive))

    def __post_init__(self) -> None:
        plain = self.type == "SGD" or self.lr is not None or self.relative is False
        defaults = _PLAIN_RATE if plain else _DEFAULT_RATE
        for name, value in defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)

    def with_type(self, kind: str) -> tuple[OptimizerConfig, list[str]]:
        """Return a copy with another type, and the names of changed options that this type lacks.

        These options get their defaults; all others stay, including the rate with its schedule.
        """
        default = OptimizerConfig()
        lost = [
            name
            for name, kinds in _OF_TYPES.items()
            if kind not in kinds and getattr(self, name) != getattr(default, name)
        ]
        return replace(self, type=kind, **{name: getattr(default, name) for name in lost}), lost


@dataclass(frozen=True)
class _Window:
    start: float = field(default=0.0, metadata=key(check.not_negative, needed="always"))
    stop: float = field(default=0.0, metadata=key(check.positive, needed="always"))


@dataclass(frozen=True)
class _Sparsity:
    weight: float = field(default=0.0, metadata=key(check.not_negative, needed="always"))
    allowed: float = field(default=0.0, metadata=key(check.not_negative))


@dataclass(frozen=True)
class _Simulation:
    """SLAYER's keys in addition to the duration: the time step and the batch."""

    dt: float = field(default=1.0, metadata=key(check.positive, "simulation.Ts", needed="always"))
    batch: int | None = field(default=None, metadata=key(counted, "simulation.nSample"))


@dataclass(frozen=True)
class _Picture:
    """The changes of pictures in training."""

    shift: int = field(default=0, metadata=key(from_zero))
    mirror: float = field(default=0.0, metadata=key(check.not_negative))
    erase: int = field(default=0, metadata=key(from_zero))


def _share_or_list(name: str, value: Any) -> float | str:
    if isinstance(value, str):
        return value
    share = check.number(name, value)
    if not 0 < share < 1:
        raise ValueError(f"{name} must be a share between 0 and 1, or a label list, got {share:g}")
    return share


ERRORS = ("NumSpikes", "ProbSpikes", "SpikeTime", "CrossEntropy")
_COUNTED = "NumSpikes ProbSpikes"


@dataclass(frozen=True)
@check.named
class Config:
    """The configuration of a training run; `load_config` reads it, `to_yaml` writes it.

    Attributes:
        neuron: the neuron model, an `SRM` or a `Loihi`, with its time step dt (SLAYER's Ts) in ms.
        duration: simulated time of a recording in ms (SLAYER's tSample).
        layers: the words of the network, the input first; strings become words. Frames are WxHxC, columns first, as in
            SLAYER's files. Empty without a network.
        sound: how to read sounds if `data` is a file of sounds; None for recordings of events.
        picture: for frames of numbers, the changes in training: shift, mirror and erase of `OtherPicture`.
        error: "NumSpikes", "ProbSpikes", "SpikeTime" or "CrossEntropy".
        over: for CrossEntropy, how the loss reduces the output over time: "max", "mean", "sum", "last" or "every".
        smoothing: for CrossEntropy, the part of the desired probability that all classes share equally.
        weights: for CrossEntropy, the factor of each class's error; None for 1.
        width: for ProbSpikes, the length of the sliding window in ms.
        window: for all errors except SpikeTime, the interval (start, stop) in ms of the output that counts.
        true: for NumSpikes, the target spike count of the true class.
        false: for NumSpikes, the target spike count of the other classes.
        count_scale: for NumSpikes, the factor of the error of counts (SLAYER's numSpikesScale).
        piecewise: for NumSpikes, whether the error within the window depends only on the count.
        optimizer: the optimizer and its schedule.
        epochs: passes over the training set.
        batch: recordings per optimizer step.
        truncate: steps of a chunk of time, at whose edge gradients stop; see `Trainer`; None for whole recordings.
        recompute: steps of a chunk of time that backward runs again; see `Trainer`; None to run nothing again.
        seed: seed of weights, sample order, dropout and the choice of validation recordings.
        validation: the fraction of training recordings of each class, 0 to 1, for validation; or, for a folder of
            recordings, their label list. They are not trained on, and their score determines the best epoch. None for
            no validation: the last epoch is then the best.
        patience: number of epochs without a better validation score after which the run ends; None for no limit.
        initialization: "calibrated": `calibrate` scales the weights before the first step, except in layers with their
            own weight_scale; or "slayer", for SLAYER's scales.
        firing_rate: the mean firing rate of each layer for "calibrated", Hz; the output's rate follows from the loss.
        checkpoint_minutes: minutes between checkpoints, also in the middle of an epoch.
        checkpoint_steps: steps between additional checkpoints; None for no additional ones.
        sparsity: None, or the weight and the allowed operations of a `SparsityLoss`.
        micro: recordings per micro-batch, into which `DataParallel` divides a batch; None for whole batches. With
            several processes, the default is 16, or a quarter of a batch of fewer than 64.
        fast: whether the gradients of micro-batches may be added in any order.
        dataset: the name of a data set for `cs.data.load`; None for a folder of recordings or the digits.
        data: the folder of recordings, a file of sounds, or tonic's folder of data sets; None for the embedded digits.
        train_list: the label list of the training set, if the folder has several.
        test_list: the label list of the test set, if the folder has several.
        out: the folder for results; None for a new folder under runs/.
    """

    neuron: Neuron = field(
        default_factory=partial(SRM, scale_rho=1.0), metadata=key(as_given, "neuron", "always", write=neuron_constants)
    )
    duration: float = field(default=300.0, metadata=key(check.positive, "simulation.tSample", "always"))
    layers: tuple[Word, ...] = field(
        default=(Word("34x34x2"), Word("256"), Word("10")),
        metadata=key(as_given, "layer", write=lambda words: [write(word) for word in words] or None),
    )
    _: KW_ONLY
    sound: SoundConfig | None = field(
        default=None, metadata=key(as_given, write=lambda sound: None if sound is None else sound.to_yaml())
    )
    picture: tuple[int, float, int] | None = field(default=None, metadata=key(_Picture, "training.picture"))
    error: str = field(default="NumSpikes", metadata=key(choice(ERRORS), "training.error.type", "always"))
    over: str = field(default="max", metadata=key(choice(OVER), "training.error.over", types="CrossEntropy"))
    smoothing: float = field(
        default=0.0, metadata=key(check.fraction, "training.error.smoothing", types="CrossEntropy")
    )
    weights: tuple[float, ...] | None = field(
        default=None, metadata=key(numbers, "training.error.weights", types="CrossEntropy")
    )
    # SLAYER's files have the window for every type.
    width: float = field(
        default=20.0, metadata=key(check.positive, "training.error.probSlidingWin", "ProbSpikes", _COUNTED)
    )
    window: tuple[float, float] = field(
        default=(0.0, 300.0),
        metadata=key(_Window, "training.error.tgtSpikeRegion", _COUNTED, f"{_COUNTED} CrossEntropy"),
    )
    true: float = field(
        default=60.0, metadata=key(check.not_negative, "training.error.tgtSpikeCount.true", "NumSpikes", "NumSpikes")
    )
    false: float = field(
        default=10.0, metadata=key(check.not_negative, "training.error.tgtSpikeCount.false", "NumSpikes", "NumSpikes")
    )
    count_scale: float = field(
        default=1.0, metadata=key(check.positive, "training.error.numSpikesScale", types="NumSpikes")
    )
    piecewise: bool = field(default=False, metadata=key(flag, "training.error.piecewise", types="NumSpikes"))
    optimizer: OptimizerConfig = field(default=OptimizerConfig(), metadata=key(OptimizerConfig, "training.optimizer"))
    epochs: int = field(default=8, metadata=key(counted, "training.epochs"))
    batch: int = field(default=16, metadata=key(counted, "training.batch"))
    truncate: int | None = field(default=None, metadata=key(counted, "training.truncate"))
    recompute: int | None = field(default=None, metadata=key(counted, "training.recompute"))
    seed: int = field(default=0, metadata=key(from_zero, "training.seed"))
    validation: float | str | None = field(default=None, metadata=key(_share_or_list, "training.validation"))
    patience: int | None = field(default=None, metadata=key(counted, "training.patience"))
    initialization: str = field(
        default="calibrated", metadata=key(choice(("calibrated", "slayer")), "training.initialization")
    )
    firing_rate: float = field(default=30.0, metadata=key(check.positive, "training.firingRate"))
    checkpoint_minutes: float = field(default=5.0, metadata=key(check.positive, "training.checkpoint.minutes"))
    checkpoint_steps: int | None = field(default=None, metadata=key(counted, "training.checkpoint.steps"))
    sparsity: tuple[float, float] | None = field(default=None, metadata=key(_Sparsity, "training.sparsity"))
    micro: int | None = field(default=None, metadata=key(counted, "training.parallel.micro"))
    fast: bool = field(default=False, metadata=key(flag, "training.parallel.fast"))
    dataset: str | None = field(default=None, metadata=key(choice(KNOWN_SETS), "training.path.dataset"))
    data: str | None = field(default=None, metadata=key(a_path, "training.path.in"))
    train_list: str | None = field(default=None, metadata=key(a_path, "training.path.train"))
    test_list: str | None = field(default=None, metadata=key(a_path, "training.path.test"))
    out: str | None = field(default=None, metadata=key(a_path, "training.path.out"))

    def __post_init__(self) -> None:
        given: tuple[Word | str, ...] = self.layers
        if isinstance(self.layers, str):
            raise TypeError(f"layers must be a tuple of words, got {self.layers!r}")
        object.__setattr__(self, "layers", tuple(w if isinstance(w, Word) else Word(w) for w in given))
        if self.validation is None:
            plateau = self.optimizer.schedule == "plateau"
            if plateau or self.patience is not None:
                what = "the schedule plateau" if plateau else "patience"
                raise ValueError(f"{what} needs a validation set, got none; give validation, such as 0.1")
        elif self.error == "SpikeTime":
            raise ValueError(f"validation is for classes, SpikeTime has one pair of recordings, got {self.validation}")

    @property
    def steps(self) -> int:
        """The number of time steps of a recording."""
        return round(self.duration / self.neuron.dt)

    def network(self) -> Network:
        """Return a new network with weights from the library's generator.

        Raises:
            ValueError: the configuration has no layers, or their shapes do not fit.
        """
        if not self.layers:
            raise ValueError("layer is missing: the configuration has no network")
        # Training changes constants only in the network. Words that share neurons still share them.
        layers, neuron = deepcopy((self.layers, self.neuron))
        return Network(list(map(rows_first, layers)), neuron)

    def loss(self) -> SpikeCountLoss | ProbabilityWindowLoss | SpikeTimeLoss | CrossEntropyLoss | SparsityLoss:
        """Return a new loss."""
        loss = self._loss_alone()
        return loss if self.sparsity is None else SparsityLoss(loss, weight=self.sparsity[0], allowed=self.sparsity[1])

    def _loss_alone(self) -> SpikeCountLoss | ProbabilityWindowLoss | SpikeTimeLoss | CrossEntropyLoss:
        if self.error == "SpikeTime":
            return SpikeTimeLoss(self.neuron)
        if self.error == "ProbSpikes":
            return ProbabilityWindowLoss(self.neuron, width=self.width, window=self.window)
        if self.error == "CrossEntropy":
            options: dict[str, Any] = {"weights": self.weights, "smoothing": self.smoothing}
            return CrossEntropyLoss(self.over, window=self.window, dt=self.neuron.dt, **options)
        return SpikeCountLoss(
            self.neuron,
            true=None if self.true == Config.true else self.true,
            false=self.false,
            window=self.window,
            count_scale=self.count_scale,
            piecewise=self.piecewise,
        )

    def make_optimizer(
        self, parameters: Iterable[Tensor], *, steps: int | None = None, stats: Stats | None = None
    ) -> SGD | Adam | NAdam:
        """Return a new optimizer for the parameters.

        Args:
            parameters: the tensors to train.
            steps: the number of steps of the run; the warm-up takes at most a tenth.
            stats: the log of the run; the schedule "plateau" uses its validation scores.
        """
        o = self.optimizer
        warmup = o.warmup if steps is None else min(cast(int, o.warmup), steps // 10)
        first = cast(float, o.lr)
        lr: float | Schedule = first
        if o.schedule == "step":
            lr = step_decay(first, every=o.every, factor=o.factor)
        elif o.schedule == "cosine":
            lr = cosine_decay(first, epochs=self.epochs)
        elif o.schedule == "plateau" and stats is not None:
            # The rows before an epoch do not change.
            lr = cache(lambda epoch: first * o.factor ** plateaus(stats.epochs[:epoch], o.every))
        options: dict[str, Any] = {"weight_decay": o.weight_decay, "relative": o.relative, "warmup": warmup}
        options |= {"clip_norm": o.clip_norm, "clip_value": o.clip_value}
        if o.type == "SGD":
            return SGD(parameters, lr, momentum=o.momentum, **options)
        if o.type == "NAdam":
            # With a schedule of the momentum, amsgrad stays off, so that runs of earlier versions can resume.
            psi, amsgrad = o.momentum_decay, o.amsgrad and o.momentum_decay is None
            return NAdam(parameters, lr, momentum_decay=psi, amsgrad=amsgrad, **options)
        return Adam(parameters, lr, amsgrad=o.amsgrad, **options)

    def with_options(self, **options: Any) -> Config:
        """Return a copy with every option that is not None replaced.

        `lr` sets the optimizer's learning rate and keeps its schedule; `clip_norm` and `clip_value` set the limits of
        the gradients; `network`, a notation as in `Network`, replaces the layers.
        """
        given = {name: value for name, value in options.items() if value is not None}
        if "network" in given:
            given["layers"] = tuple(rows_first(word) for word in read_words(given.pop("network")))
        changed = {name: given.pop(name) for name in ("lr", "clip_norm", "clip_value") if name in given}
        if changed:
            given["optimizer"] = replace(given.get("optimizer", self.optimizer), **changed)
        return replace(self, **given)

    def to_yaml(self) -> str:
        """Return YAML that `load_config` reads as an equal configuration."""
        document = self.document()
        if self.error == "NumSpikes":
            counts = document["training"]["error"]["tgtSpikeCount"]
            document["training"]["error"]["tgtSpikeCount"] = {True: counts["true"], False: counts["false"]}
        return yaml.safe_dump(document, sort_keys=False)

    def document(self) -> dict[str, Any]:
        """Return the content of the file as plain dictionaries, with text as keys, and lists."""
        document = write(self, self.error, write(_Simulation(self.neuron.dt)))
        if self.micro is None:
            del document["training"]["parallel"]
        document["training"].setdefault("path", {})
        return document


_ALL_OR_NONE = (
    "; a file with one of simulation, neuron and training.error needs all three, a file with none of them has defaults"
)
# The sections of SLAYER's files.
_SLAYERS = ("simulation", "neuron", "training", "training.error")
_MOST_STEPS = 2**31
_GRAMMAR = GRAMMAR.replace("HxWxC", "WxHxC")
_NEURON: dict[str, Any] = {name: {} for kind in KINDS.values() if kind.names for name in ("type", *kind.names.all)}
_LAYER = known(Word) | {"neuron": _NEURON}
_TREE = known(_Simulation, Config) | {"neuron": _NEURON, "sound": known(SoundConfig)}

# The folder of named configurations; in a checkout it is outside the package.
_INSTALLED = Path(__file__).with_name("configs")
_CONFIGS = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[2] / "examples" / "configs"


def named_configs() -> dict[str, Path]:
    """Return the files of named configurations."""
    return {path.stem: path for path in sorted(_CONFIGS.glob("*.yaml"))}


@check.operation
def load_config(source: str | Path | Mapping[Any, Any]) -> Config:
    """Read a training configuration from YAML with SLAYER's keys.

    - ``simulation``: Ts, tSample;
    - ``neuron``: type SRMALPHA with theta, tauSr, tauRef, scaleRef, tauRho and any scaleRho, which calibration sets by
      default, or type LOIHI with vThMant, vDecay, iDecay, refDelay, wgtExp, tauRho, scaleRho;
    - ``training.error``: type NumSpikes with tgtSpikeRegion {start, stop}, tgtSpikeCount {true, false} and optionally
      numSpikesScale and piecewise; ProbSpikes with tgtSpikeRegion and probSlidingWin; SpikeTime; or CrossEntropy with
      optionally over and tgtSpikeRegion;
    - optionally ``layer`` and ``sound`` (options of `SoundConfig`);
    - optionally, under ``training``: ``optimizer``, ``epochs``, ``batch``, ``seed``, ``patience``, ``firingRate`` (Hz),
      ``path`` (in, train, test, out, and dataset, a name for `cs.data.load`), ``validation`` (a fraction or a list),
      ``initialization`` (calibrated or slayer), ``checkpoint`` (minutes, steps between checkpoints), ``truncate`` and
      ``recompute`` (steps: see `Trainer`), ``parallel`` (micro, fast: see `DataParallel`) and ``sparsity`` (weight,
      allowed: see `SparsityLoss`).

    A file with ``layer`` but without ``simulation``, ``neuron`` and ``training.error`` gets the defaults of `Config`
    for these: a list of layers is a complete configuration. A file with one of the three needs all three.

    ``layer`` is a list of layers, the input first. ``dim`` is WxHxC (columns first, as in SLAYER) or N for the input;
    N for a dense layer, NcK for a convolution, NbK for a block of two with a skip connection, Ka for a pooling, Navg
    for a population vote, Nout for a read-out. Options depend on the layer; see `Word`. Windows have stride, padding,
    dilation (one number, or [rows, columns]) and groups. Weights have wScale, bias (true: trained), norm (std, power,
    none or rms) and winners; a block has join (add, and or iand), a read-out tau (ms). Delays are delay (true:
    trained), maxDelay, initialDelay, synapticDelay, recurrentDelay and recurrentSynapticDelay (ms), with narrowing.
    Layers with neurons have dropout and their own neuron.

    Args:
        source: the path of a YAML file, a mapping of the same keys, such as `Params`, or the name of one of cuslayer's
            configurations. These are digits, nmnist, dvsgesture, cifar10dvs, shd, ssc, ntidigits, spoken-digits,
            spoken-digits-delays, qtdb, braille, braille-spikes, smnist, psmnist.

    Raises:
        ValueError: the file is missing or is not YAML, a key or a word is unknown or missing, or a value is out of
            range. For an unknown one, the message shows the nearest known key, or the grammar of the words.
        TypeError: a value is of the wrong type.

    >>> load_config("no/such.yaml")
    Traceback (most recent call last):
        ...
    ValueError: load_config: no/such.yaml is no file
    """
    if isinstance(source, Mapping):
        return _read(Params(source).plain())
    path = check.path("source", _find(source))
    document = read_yaml(path)
    with check.about(path):
        return _read(document)


def _find(source: Any) -> Any:
    """Return the file of a named configuration; anything else, also the path of a file, unchanged."""
    if not isinstance(source, str) or not re.fullmatch(r"\w[\w-]{0,63}", source) or os.path.isfile(source):
        return source
    known = named_configs()
    if source in known:
        return known[source]
    hint = check.nearest(source, known)
    raise ValueError(f"{source!r} is no file, nor one of the configurations {', '.join(known)}{hint}")


def _read(document: Any) -> Config:
    """Return the configuration of a document; raise other errors before missing keys."""
    document = check_keys(document, _TREE)
    training = document.get("training") or {}
    # A list of layers is a complete configuration.
    usual = document.get("layer") is not None and not (
        {"simulation", "neuron"} & document.keys() or "error" in training
    )
    missing, default = list[str](), Config()
    kind = (training.get("error") or {}).get("type") or Config.error
    found = read(_Simulation, document, "", missing)
    dt = found.pop("dt", _Simulation.dt)
    found |= read(Config, document, "", missing, kind if isinstance(kind, str) else "")
    if usual:
        missing = [path for path in missing if path not in _SLAYERS]
        found["neuron"] = default.neuron
    elif "neuron" in found:
        try:
            found["neuron"] = _neuron("neuron.", found["neuron"], dt)
        except check.MissingKey as problem:
            missing.append(problem.path)
    duration = found.setdefault("duration", default.duration)
    if duration / dt >= _MOST_STEPS:
        rule = "must be less than 2**31 steps of simulation.Ts"
        raise ValueError(f"simulation.tSample {rule}, got {duration:g} ms in steps of {dt:g} ms")
    found["layers"] = _layers(found.get("layers"), dt, missing)
    if "sound" in found:
        found["sound"] = read_sound(found["sound"], dt, duration)
    if "fast" in found and "micro" not in found:
        missing.append("training.parallel.micro")
    if kind == "CrossEntropy":
        found.setdefault("window", (0.0, duration))
    if found.get("dataset") is not None:
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
    lost = [f"layer[{i}].dim" for i, section in enumerate(sections) if section.get("dim") is None]
    if lost:
        missing += lost
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
    found = read(Word, section, f"{at}.", [])
    kind = kind_of(f"{at}.dim {found['text']!r}", found["text"], _GRAMMAR)
    for each, _, path in keys(Word):
        if each.name in found and each.name not in ("text", *TAKES[kind]):
            raise ValueError(f"{at}.{path} is not for {found['text']!r}, {article(kind)} word")
    if "neuron" in found:
        found["neuron"] = _neuron(f"{at}.neuron.", found["neuron"], dt)
    with check.about(at):
        return Word(**found)
