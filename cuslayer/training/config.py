"""The configuration of a training run: `Config`, with reading (`load_config`) and writing of YAML."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

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
    named_keys,
    plain_number,
    read,
    write,
)
from cuslayer._base.time_window import TimeWindow
from cuslayer._tape import Tensor
from cuslayer.data.catalog import NAMES as KNOWN_SETS
from cuslayer.loss.base import ClassLoss
from cuslayer.loss.spike_time import SpikeTimeLoss
from cuslayer.network.notation import GRAMMAR, TAKES, Network, Word, article, kind_of, read_words, rows_first
from cuslayer.network.online.rule import RULES
from cuslayer.network.synaptic import SparsityLoss
from cuslayer.neurons.base import KINDS, Neuron
from cuslayer.neurons.names import make_neuron, neuron_constants
from cuslayer.neurons.srm import SRM
from cuslayer.optim import Optimizer
from cuslayer.training.named import Named, arguments_of, kinds_of, read_named
from cuslayer.training.optimizer import OptimizerConfig, read_optimizer
from cuslayer.training.params import Params, read_yaml
from cuslayer.training.slayer import class_of, of_slayer
from cuslayer.training.sound import SoundConfig, read_sound
from cuslayer.training.stats import Stats

# Arguments of losses that are not in a file: those of the network.
_OF_NETWORK = ("neuron", "dt")


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


def _share_or_list(name: str, value: object) -> float | str:
    if isinstance(value, str):
        return value
    share = check.number(name, value)
    if not 0 < share < 1:
        raise ValueError(f"{name} must be a share between 0 and 1, or a label list, got {share:g}")
    return share


def losses() -> dict[str, type]:
    """Return the classes of losses by name, also your own subclasses of `ClassLoss`."""
    return kinds_of(ClassLoss) | {"SpikeTimeLoss": SpikeTimeLoss}


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
        error: the class of the loss, one of `cuslayer.loss` or your own subclass of `ClassLoss`, with its arguments
            except neuron and dt.
        optimizer: the optimizer and its schedule.
        epochs: passes over the training set.
        batch: recordings per optimizer step.
        truncate: steps of a chunk of time, at whose edge gradients stop; see `Trainer`; None for whole recordings.
        recompute: steps of a chunk of time that backward runs again; see `Trainer`; None to run nothing again.
        online: a rule that learns forward in time, "exact", "factored" or "eprop"; see `Trainer`; None for backward.
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
    error: Named = field(
        default=Named("SpikeCountLoss"),
        metadata=key(as_given, "training.error", "always", write=Named.document),
    )
    optimizer: OptimizerConfig = field(
        default=OptimizerConfig(),
        metadata=key(as_given, "training.optimizer", write=OptimizerConfig.document),
    )
    epochs: int = field(default=8, metadata=key(counted, "training.epochs"))
    batch: int = field(default=16, metadata=key(counted, "training.batch"))
    truncate: int | None = field(default=None, metadata=key(counted, "training.truncate"))
    recompute: int | None = field(default=None, metadata=key(counted, "training.recompute"))
    online: str | None = field(default=None, metadata=key(choice(RULES), "training.online"))
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
        rules = {
            "neuron": (Neuron, "a neuron"),
            "sound": (SoundConfig | None, "training.SoundConfig or None"),
            "error": (Named, 'training.Named, as in Named("SpikeCountLoss")'),
            "optimizer": (OptimizerConfig, "training.OptimizerConfig"),
        }
        for name, (kinds, what) in rules.items():
            if not isinstance(getattr(self, name), kinds):
                raise check.mistyped(name, f"must be {what}", getattr(self, name))
        if self.validation is None:
            waits = self.optimizer.schedule.name == "plateau"
            if waits or self.patience is not None:
                what = "the schedule plateau" if waits else "patience"
                raise ValueError(f"{what} needs a validation set, got none; give validation, such as 0.1")
        elif self.spike_times:
            raise ValueError(
                f"validation is for classes, spike times have one pair of recordings, got {self.validation}"
            )
        # Raise errors of their arguments.
        self.loss()
        self.optimizer.make([Tensor([1.0], requires_grad=True)], self.epochs, None, None)

    @property
    def spike_times(self) -> bool:
        """Whether the network learns spike times, from a pair of recordings, and not classes."""
        return self.error.name == "SpikeTimeLoss"

    @property
    def decision(self) -> tuple[str, TimeWindow | None]:
        """How the output decides: its reduction over time, and the window of time in ms, None for the whole time."""
        loss = self._loss_alone()
        return (loss.over, loss.window) if hasattr(loss, "over") else ("sum", None)

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

    def loss(self) -> Any:
        """Return a new loss."""
        loss = self._loss_alone()
        return loss if self.sparsity is None else SparsityLoss(loss, weight=self.sparsity[0], allowed=self.sparsity[1])

    def _loss_alone(self) -> Any:
        return self.error.make("training.error", losses(), neuron=self.neuron, dt=self.neuron.dt)

    def make_optimizer(
        self, parameters: Iterable[Tensor], *, steps: int | None = None, stats: Stats | None = None
    ) -> Optimizer:
        """Return a new optimizer for the parameters.

        Args:
            parameters: the tensors to train.
            steps: the number of steps of the run; the warm-up takes at most a tenth.
            stats: the log of the run; the schedule "plateau" uses its validation scores.
        """
        return self.optimizer.make(parameters, self.epochs, steps, stats)

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
            given["optimizer"] = given.get("optimizer", self.optimizer).changed(**changed)
        return replace(self, **given)

    def to_yaml(self) -> str:
        """Return YAML that `load_config` reads as an equal configuration."""
        return yaml.safe_dump(self.document(), sort_keys=False)

    def document(self) -> dict[str, Any]:
        """Return the content of the file as plain dictionaries, with text as keys, and lists."""
        document = write(self, write(_Simulation(float(self.neuron.dt))))
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
      default; type LOIHI with vThMant, vDecay, iDecay, refDelay, wgtExp, tauRho, scaleRho; or another kind of
      `cuslayer.neurons`, such as LIF, with its constants;
    - ``training.error``: type, the class of a loss, with arguments of its constructor, such as
      ``{type: SpikeCountLoss, true: 60, false: 10}``; or as in SLAYER's files, type NumSpikes with tgtSpikeRegion
      {start, stop}, tgtSpikeCount {true, false} and optionally numSpikesScale; ProbSpikes with tgtSpikeRegion and
      probSlidingWin; or SpikeTime;
    - optionally ``layer`` and ``sound`` (options of `SoundConfig`);
    - optionally, under ``training``: ``optimizer`` (type, the class of an optimizer, with its arguments, and schedule,
      the name of a function of `cuslayer.optim` or its type with its arguments), ``epochs``, ``batch``, ``seed``,
      ``patience``, ``firingRate`` (Hz), ``path`` (in, train, test, out, and dataset, a name for `cs.data.load`),
      ``validation`` (a fraction or a list), ``initialization`` (calibrated or slayer), ``checkpoint`` (minutes, steps
      between checkpoints), ``truncate`` and ``recompute`` (steps) and ``online`` (a rule), for which see `Trainer`,
      ``parallel`` (micro, fast: see `DataParallel`) and ``sparsity`` (weight, allowed: see `SparsityLoss`).

    A file with ``layer`` but without ``simulation``, ``neuron`` and ``training.error`` gets the defaults of `Config`
    for these: a list of layers is a complete configuration. A file with one of the three needs all three.

    ``layer`` is a list of layers, the input first. ``dim`` is WxHxC (columns first, as in SLAYER) or N for the input;
    N for a dense layer, NcK for a convolution, NbK for a block of two with a skip connection, Ka for a pooling, Navg
    for a population vote, Nout for a read-out. Options depend on the layer; see `Word`. Windows have stride, padding,
    dilation (one number, or [rows, columns]) and groups. Weights have wScale, wMean, bias (true: trained), norm (std,
    power, none or rms) and winners; a block has join (add, and or iand), a read-out tau (ms) or neuron. Delays are
    delay (true: trained), maxDelay, initialDelay, synapticDelay, recurrentDelay and recurrentSynapticDelay (ms), with
    narrowing. Layers with neurons have dropout and their own neuron.

    Args:
        source: the path of a YAML file, a mapping of the same keys, such as `Params`, or the name of one of cuslayer's
            configurations, which are the files in examples/configs; a wrong name lists them.

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


def _find(source: str | Path | Mapping[str, object]) -> object:
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
    found = read(_Simulation, document, "", missing)
    dt = found.pop("dt", _Simulation.dt)
    found |= read(Config, document, "", missing)
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
    if "error" in found:
        found["error"] = _error(found["error"], duration, missing)
    if "optimizer" in found:
        found["optimizer"] = read_optimizer(found["optimizer"])
    found["layers"] = _layers(found.get("layers"), dt, missing)
    if "sound" in found:
        found["sound"] = read_sound(found["sound"], dt, duration)
    if "fast" in found and "micro" not in found:
        missing.append("training.parallel.micro")
    if found.get("dataset") is not None:
        for key, name in (("train", "train_list"), ("test", "test_list")):
            if name in found:
                got = f"training.path.dataset is {found['dataset']}"
                raise ValueError(f"training.path.{key} is for a folder of recordings, {got}")
    if missing:
        hint = _ALL_OR_NONE if missing[0] in _SLAYERS and document.get("layer") is not None else ""
        raise ValueError(f"{missing[0]} is missing{hint}")
    return Config(**found)


def _error(section: Mapping[str, object], duration: float, missing: list[str]) -> Named:
    """Return the class of the loss and its arguments, also of a section of SLAYER's."""
    at = "training.error"
    section = named_keys(section, at)
    if section.get("type") is None:
        missing.append(f"{at}.type")
        return Named("SpikeCountLoss")
    name = check.one_of(f"{at}.type", class_of(section["type"]), losses())
    parameters = arguments_of(losses()[name], _OF_NETWORK)
    return read_named(at, of_slayer(at, section, parameters, duration, missing), parameters)


def _neuron(at: str, constants: Mapping[str, object], dt: float) -> Neuron:
    return make_neuron(at, {key: plain_number(value) for key, value in constants.items()}, dt)


def _layers(layers: object, dt: float, missing: list[str]) -> tuple[Word, ...]:
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


def _word(at: str, section: Mapping[str, object], dt: float) -> Word:
    found = read(Word, section, f"{at}.", [])
    kind = kind_of(f"{at}.dim {found['text']!r}", found["text"], _GRAMMAR)
    for each, _, path in keys(Word):
        if each.name in found and each.name not in ("text", *TAKES[kind]):
            raise ValueError(f"{at}.{path} is not for {found['text']!r}, {article(kind)} word")
    if "neuron" in found:
        found["neuron"] = _neuron(f"{at}.neuron.", found["neuron"], dt)
    with check.about(at):
        return Word(**found)
