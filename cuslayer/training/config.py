"""The configuration of a training run, and the YAML that it is written as."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import yaml

from cuslayer.loss import ProbabilityWindowLoss, SpikeCountLoss, SpikeTimeLoss
from cuslayer.network.network import Network
from cuslayer.network.notation import Word, rows_first
from cuslayer.neurons.base import Neuron
from cuslayer.neurons.names import neuron_constants
from cuslayer.neurons.srm import SRM
from cuslayer.optim import SGD, Adam, NAdam, Schedule, cosine_decay, step_decay
from cuslayer.tape import Tensor

# SLAYER's names of the options beside a layer's word, and ours.
LAYER_OPTIONS = {
    "stride": "stride",
    "padding": "padding",
    "dilation": "dilation",
    "groups": "groups",
    "wScale": "weight_scale",
    "delay": "delay",
    "maxDelay": "max_delay",
    "neuron": "neuron",
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
        neuron: the neurons, an `SRM` or a `Loihi`, with the step dt (SLAYER's Ts) in ms.
        duration: milliseconds of a recording that count (SLAYER's tSample).
        layers: the words of the network, the input first; plain strings become words. Frames are WxHxC, columns first,
            as in SLAYER's files. There are none in a configuration without a network.
        error: "NumSpikes", "ProbSpikes" or "SpikeTime".
        region: for NumSpikes and ProbSpikes, the time in ms that counts.
        window: for ProbSpikes, the length of the sliding window in ms.
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

    neuron: Neuron = field(default_factory=SRM)
    duration: float = 300.0
    layers: tuple[Word, ...] = (Word("34x34x2"), Word("256"), Word("10"))
    error: str = "NumSpikes"
    region: tuple[float, float] = (0.0, 300.0)
    window: float = 20.0
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

    def __post_init__(self) -> None:
        given: tuple[Word | str, ...] = self.layers
        object.__setattr__(self, "layers", tuple(w if isinstance(w, Word) else Word(w) for w in given))

    @property
    def steps(self) -> int:
        """The number of steps of a recording."""
        return round(self.duration / self.neuron.dt)

    def network(self) -> Network:
        """Return a new network with weights drawn from the seeded generator.

        Raises:
            ValueError: the configuration has no layers, or they do not fit each other.
        """
        if not self.layers:
            raise ValueError("Config: layer is missing: the configuration has no network")
        return Network([rows_first(word) for word in self.layers], self.neuron)

    def loss(self) -> SpikeCountLoss | ProbabilityWindowLoss | SpikeTimeLoss:
        """Return the loss."""
        if self.error == "SpikeTime":
            return SpikeTimeLoss(self.neuron)
        if self.error == "ProbSpikes":
            return ProbabilityWindowLoss(self.neuron, window=self.window, region=self.region)
        return SpikeCountLoss(self.neuron, true=self.true, false=self.false, region=self.region)

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
        error: dict[str, Any] = {"type": self.error}
        if self.error != "SpikeTime":
            error["probSlidingWin"] = self.window
            error["tgtSpikeRegion"] = {"start": self.region[0], "stop": self.region[1]}
        if self.error == "NumSpikes":
            error["tgtSpikeCount"] = {True: self.true, False: self.false}
        paths = {"in": self.data, "train": self.train_list, "test": self.test_list, "out": self.out}
        optimizer = {optimizer_key(name): value for name, value in asdict(self.optimizer).items()}
        training: dict[str, Any] = {"error": error, "optimizer": optimizer}
        training |= {"epochs": self.epochs, "batch": self.batch, "seed": self.seed}
        training["path"] = {name: value for name, value in paths.items() if value is not None}
        document = {
            "simulation": {"Ts": self.neuron.dt, "tSample": self.duration},
            "neuron": neuron_constants(self.neuron),
            **({"layer": [_layer(word) for word in self.layers]} if self.layers else {}),
            "training": training,
        }
        return yaml.safe_dump(document, sort_keys=False)


def optimizer_key(name: str) -> str:
    """Return the key of an attribute of `OptimizerConfig`."""
    return {"weight_decay": "weightDecay"}.get(name, name)


def _layer(word: Word) -> dict[str, Any]:
    """Return a word and its options by SLAYER's names."""
    given = word.options()
    found = {theirs: given[ours] for theirs, ours in LAYER_OPTIONS.items() if ours in given}
    pairs = {key: list(value) for key, value in found.items() if isinstance(value, tuple)}
    own = {} if word.neuron is None else {"neuron": neuron_constants(word.neuron)}
    return {"dim": word.text} | found | pairs | own
