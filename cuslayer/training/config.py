"""The configuration of a training run, and how it is written as YAML."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

import yaml

from cuslayer import check
from cuslayer.loss import CrossEntropyLoss, ProbabilityWindowLoss, SpikeCountLoss, SpikeTimeLoss
from cuslayer.loss.base import OVER
from cuslayer.network.network import Network
from cuslayer.network.notation import Word, read_words, rows_first
from cuslayer.network.synaptic import SparsityLoss
from cuslayer.neurons.base import Neuron
from cuslayer.neurons.names import neuron_constants
from cuslayer.neurons.srm import SRM
from cuslayer.optim import SGD, Adam, NAdam, Schedule, cosine_decay, step_decay
from cuslayer.tape import Tensor
from cuslayer.training.fields import (
    Key,
    Rule,
    choice,
    counted,
    flag,
    fraction,
    from_zero,
    key_of,
    not_negative,
    path,
    positive,
    read_fields,
    written,
)
from cuslayer.training.sound import SoundConfig

# The default rate of Adam and NAdam, which fits every network whose initial weights are calibrated.
_DEFAULT_RATE: dict[str, Any] = {"lr": 0.1, "relative": True, "warmup": 30, "schedule": "cosine"}
# With a rate of one's own nothing else is added to it.
_PLAIN_RATE: dict[str, Any] = {"lr": 0.01, "relative": False, "warmup": 0, "schedule": "constant"}
# The options that not every optimizer has, and the types that have them.
_OF_TYPES = {"momentum": ("SGD",), "amsgrad": ("Adam", "NAdam"), "momentum_decay": ("NAdam",)}
OPTIMIZERS = ("SGD", "Adam", "NAdam")

# SLAYER's key of each layer option, and the name in `Word`.
LAYER_OPTIONS = {
    "wScale" if name == "weight_scale" else key_of(name): name for name in Word.__dataclass_fields__ if name != "text"
}
ERRORS = ("NumSpikes", "ProbSpikes", "SpikeTime", "CrossEntropy")
_COUNTED = "NumSpikes ProbSpikes"
_IN_A_REGION = f"{_COUNTED} CrossEntropy"


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer and the schedule of its learning rate.

    Without lr, Adam and NAdam have a relative rate of 0.1, which rises in the first 30 steps and falls to zero along a
    cosine. With lr, and for SGD, the rate is lr (0.01) in each step, unless the other options say otherwise.

    Attributes:
        type: "SGD", "Adam" or "NAdam".
        lr: the initial learning rate; None for the default.
        amsgrad: whether to divide by the largest second moment so far; for Adam, and NAdam without momentum_decay.
        momentum: momentum of SGD.
        weight_decay: weight decay.
        schedule: "constant", "step" (multiplied by `factor` every `every` epochs) or "cosine" (to zero over the run);
            None for the default.
        every: epochs between the steps of "step".
        factor: factor of each step of "step".
        momentum_decay: for NAdam; None, in YAML ``none``, for the constant momentum of SLAYER-PyTorch.
        relative: whether lr is a fraction of each weight's initial root mean square; None for the default.
        warmup: the number of steps in which the rate rises linearly to lr, in a run at most a tenth of its steps; None
            for the default.
        clip_norm: the largest norm of all gradients together, to which they are scaled; None for no limit.
        clip_value: the largest absolute value of an element of a gradient; None for no limit.
    """

    type: str = "Adam"
    lr: float | None = None
    amsgrad: bool = True
    momentum: float = 0.0
    weight_decay: float = 0.0
    schedule: str | None = None
    every: int = 10
    factor: float = 0.1
    momentum_decay: float | None = 0.004
    relative: bool | None = None
    warmup: int | None = None
    clip_norm: float | None = None
    clip_value: float | None = None

    def __post_init__(self) -> None:
        plain = self.type == "SGD" or self.lr is not None or self.relative is False
        defaults = _PLAIN_RATE if plain else _DEFAULT_RATE
        for name, value in defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)

    def with_type(self, kind: str) -> tuple[OptimizerConfig, list[str]]:
        """Return a copy of another type, and the names of options that this type does not have and that were set.

        These get their defaults; all others stay, also the rate with its schedule.
        """
        default = OptimizerConfig()
        lost = [
            name
            for name, kinds in _OF_TYPES.items()
            if kind not in kinds and getattr(self, name) != getattr(default, name)
        ]
        return replace(self, type=kind, **{name: getattr(default, name) for name in lost}), lost


_OPTIMIZER_RULES: dict[str, Rule] = {
    "type": choice(OPTIMIZERS),
    "lr": positive,
    "amsgrad": flag,
    "momentum": fraction,
    "weight_decay": not_negative,
    "schedule": choice(("constant", "step", "cosine")),
    "every": counted,
    "factor": positive,
    "momentum_decay": lambda name, value: None if value == "none" else not_negative(name, value),
    "relative": flag,
    "warmup": from_zero,
    "clip_norm": positive,
    "clip_value": positive,
}
OPTIMIZER_KEYS = tuple(Key(key_of(name), name, rule) for name, rule in _OPTIMIZER_RULES.items())


def _optimizer(name: str, value: Any) -> OptimizerConfig:
    return OptimizerConfig(**read_fields(OPTIMIZER_KEYS, value, f"{name}."))


# In the order of a file. The neuron, the layers and the sounds, which need the time step, are read beside them.
KEYS = (
    Key("simulation.tSample", "duration", positive, "always"),
    Key("training.error.type", "error", choice(ERRORS), "always"),
    Key("training.error.over", "over", choice(OVER), types="CrossEntropy"),
    # SLAYER's files have the window with every type.
    Key("training.error.probSlidingWin", "window", positive, "ProbSpikes", _COUNTED),
    Key("training.error.tgtSpikeRegion.start", "region", not_negative, f"{_COUNTED} section", _IN_A_REGION, 0),
    Key("training.error.tgtSpikeRegion.stop", "region", positive, f"{_COUNTED} section", _IN_A_REGION, 1),
    Key("training.error.tgtSpikeCount.true", "true", not_negative, "NumSpikes", "NumSpikes"),
    Key("training.error.tgtSpikeCount.false", "false", not_negative, "NumSpikes", "NumSpikes"),
    Key("training.error.numSpikesScale", "count_scale", positive, types="NumSpikes"),
    Key("training.error.piecewise", "piecewise", flag, types="NumSpikes"),
    Key("training.optimizer", "optimizer", _optimizer),
    Key("training.epochs", "epochs", counted),
    Key("training.batch", "batch", counted),
    Key("training.seed", "seed", from_zero),
    Key("training.initialization", "initialization", choice(("calibrated", "slayer"))),
    Key("training.firingRate", "firing_rate", positive),
    Key("training.checkpoint.minutes", "checkpoint_minutes", positive),
    Key("training.checkpoint.steps", "checkpoint_steps", counted),
    Key("training.sparsity.weight", "sparsity", not_negative, "section", item=0),
    Key("training.sparsity.allowed", "sparsity", not_negative, item=1),
    Key("training.parallel.micro", "micro", counted, "section"),
    Key("training.parallel.fast", "fast", flag),
    Key("training.path.dataset", "dataset", path),
    Key("training.path.in", "data", path),
    Key("training.path.train", "train_list", path),
    Key("training.path.test", "test_list", path),
    Key("training.path.out", "out", path),
)


@dataclass(frozen=True)
@check.named
class Config:
    """The configuration of a training run; `load_config` reads it, `to_yaml` writes it.

    Attributes:
        neuron: the neuron model, an `SRM` or a `Loihi`, with its time step dt (SLAYER's Ts) in ms.
        duration: simulated time of a recording in ms (SLAYER's tSample).
        layers: the words of the network, the input first; strings become words. Frames are WxHxC, columns first, as in
            SLAYER's files. Empty for a configuration without a network.
        sparsity: None, or the weight and the allowed operations of a `SparsityLoss`.
        error: "NumSpikes", "ProbSpikes", "SpikeTime" or "CrossEntropy".
        over: for CrossEntropy, what the loss takes from the output over time: "max", "mean", "sum", "last" or "every".
        region: for all but SpikeTime, the interval (start, stop) in ms in which the loss sees the output.
        window: for ProbSpikes, the length of the sliding window in ms.
        true: for NumSpikes, the target spike count of the true class.
        false: for NumSpikes, the target spike count of the other classes.
        count_scale: for NumSpikes, the factor of the error of counts (SLAYER's numSpikesScale).
        piecewise: for NumSpikes, whether the error within the region depends on the count alone.
        optimizer: the optimizer and its schedule.
        epochs: passes over the training set.
        batch: recordings per optimizer step.
        seed: seed of weights, sample order and dropout.
        initialization: "calibrated", for weights that `calibrate` scales before the first step, except those of layers
            with a weight_scale of their own; or "slayer", for SLAYER's scales.
        firing_rate: the mean firing rate of each layer for "calibrated", Hz; the output's follows from the loss.
        checkpoint_minutes: a checkpoint is written after so many minutes, also in the middle of an epoch.
        checkpoint_steps: a checkpoint is written after so many steps, too; None for no such number.
        micro: recordings of a micro-batch, the parts in which `DataParallel` divides a batch among processes; None for
            whole batches. Several processes have 16 by default, or a quarter of a smaller batch than 64.
        fast: whether the gradients of micro-batches are added in any order.
        sound: how sounds are heard, where `data` is a file of them; None for recordings of events.
        dataset: the name of a data set that `cs.data.load` knows; None for a folder of recordings or the digits.
        data: the folder of recordings, a file of sounds, or the folder in which tonic keeps its
            data sets; None for the embedded digits.
        train_list: the label list of the training set, if the folder has several.
        test_list: the label list of the test set, if the folder has several.
        out: the folder for results; None for a new folder under runs/.
    """

    neuron: Neuron = field(default_factory=SRM)
    duration: float = 300.0
    layers: tuple[Word, ...] = (Word("34x34x2"), Word("256"), Word("10"))
    sparsity: tuple[float, float] | None = None
    error: str = "NumSpikes"
    over: str = "max"
    region: tuple[float, float] = (0.0, 300.0)
    window: float = 20.0
    true: float = 60.0
    false: float = 10.0
    count_scale: float = 1.0
    piecewise: bool = False
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    epochs: int = 8
    batch: int = 16
    seed: int = 0
    initialization: str = "calibrated"
    firing_rate: float = 30.0
    checkpoint_minutes: float = 5.0
    checkpoint_steps: int | None = None
    micro: int | None = None
    fast: bool = False
    sound: SoundConfig | None = None
    dataset: str | None = None
    data: str | None = None
    train_list: str | None = None
    test_list: str | None = None
    out: str | None = None

    def __post_init__(self) -> None:
        given: tuple[Word | str, ...] = self.layers
        if isinstance(self.layers, str):
            raise TypeError(f"layers must be a tuple of words, got {self.layers!r}")
        object.__setattr__(self, "layers", tuple(w if isinstance(w, Word) else Word(w) for w in given))

    @property
    def steps(self) -> int:
        """The number of time steps of a recording."""
        return round(self.duration / self.neuron.dt)

    def network(self) -> Network:
        """Return a new network, its weights drawn from the library's generator.

        Raises:
            ValueError: the configuration has no layers, or their shapes do not fit.
        """
        if not self.layers:
            raise ValueError("layer is missing: the configuration has no network")
        return Network([rows_first(word) for word in self.layers], self.neuron)

    def loss(self) -> SpikeCountLoss | ProbabilityWindowLoss | SpikeTimeLoss | CrossEntropyLoss | SparsityLoss:
        """Return a new loss."""
        loss = self._loss_alone()
        return loss if self.sparsity is None else SparsityLoss(loss, weight=self.sparsity[0], allowed=self.sparsity[1])

    def _loss_alone(self) -> SpikeCountLoss | ProbabilityWindowLoss | SpikeTimeLoss | CrossEntropyLoss:
        if self.error == "SpikeTime":
            return SpikeTimeLoss(self.neuron)
        if self.error == "ProbSpikes":
            return ProbabilityWindowLoss(self.neuron, window=self.window, region=self.region)
        if self.error == "CrossEntropy":
            return CrossEntropyLoss(self.over, region=self.region, dt=self.neuron.dt)
        return SpikeCountLoss(
            self.neuron,
            true=None if self.true == Config.true else self.true,
            false=self.false,
            region=self.region,
            count_scale=self.count_scale,
            piecewise=self.piecewise,
        )

    def make_optimizer(self, parameters: Iterable[Tensor], *, steps: int | None = None) -> SGD | Adam | NAdam:
        """Return a new optimizer of the parameters.

        Args:
            parameters: the tensors to train.
            steps: the number of steps of the run; the warm-up takes at most a tenth of them.
        """
        o = self.optimizer
        warmup = o.warmup if steps is None else min(cast(int, o.warmup), steps // 10)
        first = cast(float, o.lr)
        lr: float | Schedule = first
        if o.schedule == "step":
            lr = step_decay(first, every=o.every, factor=o.factor)
        elif o.schedule == "cosine":
            lr = cosine_decay(first, epochs=self.epochs)
        options: dict[str, Any] = {"weight_decay": o.weight_decay, "relative": o.relative, "warmup": warmup}
        options |= {"clip_norm": o.clip_norm, "clip_value": o.clip_value}
        if o.type == "SGD":
            return SGD(parameters, lr, momentum=o.momentum, **options)
        if o.type == "NAdam":
            # With a schedule of the momentum, amsgrad stays off, so that runs of earlier versions can be resumed.
            psi, amsgrad = o.momentum_decay, o.amsgrad and o.momentum_decay is None
            return NAdam(parameters, lr, momentum_decay=psi, amsgrad=amsgrad, **options)
        return Adam(parameters, lr, amsgrad=o.amsgrad, **options)

    def with_options(self, **options: Any) -> Config:
        """Return a copy with every option that is not None replaced.

        `lr` sets the optimizer's learning rate, whose schedule stays, `clip_norm` and `clip_value` the limits of its
        gradients; `network`, a notation as of `Network`, replaces the layers.
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
        """Return the content of the file as plain dictionaries and lists, with text as keys."""
        document: dict[str, Any] = {"simulation": {"Ts": self.neuron.dt}, "neuron": neuron_constants(self.neuron)}
        if self.layers:
            document["layer"] = [_word_to_yaml(word) for word in self.layers]
        if self.sound is not None:
            document["sound"] = self.sound.to_yaml()
        written(KEYS, self, self.error, document)
        training = document["training"]
        training["optimizer"] = {key_of(name): value for name, value in asdict(self.optimizer).items()}
        if self.optimizer.momentum_decay is None:
            training["optimizer"]["momentumDecay"] = "none"
        if self.micro is None:
            del training["parallel"]
        training.setdefault("path", {})
        return document


def _word_to_yaml(word: Word) -> dict[str, Any]:
    """Return a word and its options under SLAYER's keys."""
    options = word.options()
    given = {key: options[name] for key, name in LAYER_OPTIONS.items() if name in options}
    pairs = {key: list(value) for key, value in given.items() if isinstance(value, tuple)}
    own = {} if word.neuron is None else {"neuron": neuron_constants(word.neuron)}
    return {"dim": word.text} | given | pairs | own
