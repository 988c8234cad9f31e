"""The measurements, and the libraries and forms that take part."""

from __future__ import annotations

from dataclasses import dataclass

NAMES = {
    "ours": "cuslayer",
    "lava": "lava-dl",
    "spikingjelly": "SpikingJelly",
    "snntorch": "snnTorch",
    "norse": "Norse",
    "eventprop": "Norse's EventProp",
    "sinabs": "sinabs",
    "spyx": "Spyx",
    "brainevent": "brainevent",
}
ON_TORCH = ("lava", "spikingjelly", "snntorch", "norse", "eventprop", "sinabs")
ON_JAX = ("spyx", "brainevent")
PEERS = (*ON_TORCH, *ON_JAX)

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Work:
    """A network, and the pairs of library and form that are compared with cuslayer's default on it."""

    title: str
    layers: list[list]  # as in `comparison.models.stages`
    batch: int
    peers: Pairs
    repeats: int  # the steps that are timed
    initial: str = "examples"  # how cuslayer's weights begin, see `comparison.models.ours.Network`
    activity: float | None = None  # the share of steps in which each input fires at random; None for recordings
    images: bool = False  # whether random images are the input at each step
    ours: str = "default"  # cuslayer's form
    tau: float = 10.0  # in steps, and the threshold, of neurons that are no SRM
    threshold: float = 1.0
    like: str | None = None  # the work in which the forms were compared: only a library's fastest one takes part
    steps: int = 300  # of 1 ms
    sensor: tuple[int, ...] = (34, 34, 2)


_MLP = [["dense", 512], ["dense", 10]]
_CNN = [["conv", 16, 5, 1], ["pool", 2], ["conv", 32, 3, 1], ["pool", 2], ["conv", 64, 3, 1], ["dense", 10]]
_OF_RECURRENT = (
    ("spikingjelly", "multi-step"),
    ("spikingjelly", "plain"),
    ("snntorch", "hoisted"),
    ("snntorch", "plain"),
)
_OF_MLP = (
    ("ours", "full"),
    ("lava", "multi-step"),
    ("spikingjelly", "multi-step"),
    ("snntorch", "hoisted"),
    ("snntorch", "plain"),
    ("norse", "hoisted"),
    ("eventprop", "hoisted"),
    ("sinabs", "multi-step"),
    ("spyx", "hoisted"),
    ("spyx", "layers"),
    ("spyx", "plain"),
    ("brainevent", "events"),
)
# One step at a time wins where a step's maps fit in the cache; both forms run where a library has both.
_OF_CNN = (
    ("ours", "full"),
    ("lava", "multi-step"),
    *_OF_RECURRENT,
    ("norse", "plain"),
    ("eventprop", "plain"),
    ("sinabs", "multi-step"),
    ("spyx", "layers"),
    ("brainevent", "events"),
)
# The shares of steps in which everything fires, in %.
ACTIVITIES = (0.5, 2, 10, 30, 60)
# Libraries whose steps of the CNN take so long that after `cnn8` they are measured at the greatest activity alone.
_SLOW = ("lava", "sinabs")

MLP, CNN = "MLP 2312-512-10", "CNN 16c5-2a-32c3-2a-64c3-10"


def _without(peers: Pairs, *libraries: str) -> Pairs:
    return tuple((peer, form) for peer, form in peers if peer not in libraries)


TRAINING = {
    "mlp8": Work(f"{MLP}, batch 8", _MLP, 8, _OF_MLP, 7),
    "mlp32": Work(f"{MLP}, batch 32", _MLP, 32, _OF_MLP, 7),
    "cnn8": Work(f"{CNN}, batch 8", _CNN, 8, _OF_CNN, 3),
    "cnn8-initial": Work(
        f"{CNN}, batch 8, SLAYER's initial scales", _CNN, 8, _without(_OF_CNN, *_SLOW), 3, initial="slayer", like="cnn8"
    ),
    "recurrent32": Work(
        "700-128r-20, 128 neurons with weights among themselves, 250 steps, batch 32, 2 % of steps",
        [["recurrent", 128], ["dense", 20]],
        32,
        _OF_RECURRENT,
        5,
        initial="activity",
        activity=0.02,
        steps=250,
        sensor=(700,),
    ),
    "sequence64": Work(
        "1-256r-10, 256 adaptive neurons with weights among themselves, 784 steps, batch 64, 13 % of steps",
        [["adaptive", 256], ["dense", 10]],
        64,
        (("snntorch", "hoisted"), ("norse", "hoisted"), ("spyx", "hoisted"), ("spyx", "layers")),
        5,
        initial="activity",
        activity=0.13,
        steps=784,
        sensor=(1,),
    ),
}
# Images as a constant current, and Spikformer's tokens; the neurons are SpikingJelly's `LIFNode()`, which halves its
# input and its voltage at each step.
_FIELD = {"repeats": 5, "initial": "default", "ours": "lif", "tau": 2.0, "threshold": 2.0, "steps": 4}
_AT_ONCE = (("spikingjelly", "multi-step"), ("snntorch", "hoisted"), ("norse", "hoisted"))
_OF_FIELD = (*_AT_ONCE, *((peer, "once") for peer, _ in _AT_ONCE))
_IMAGES = {"images": True, "sensor": (28, 28, 1), "peers": _OF_FIELD, **_FIELD}
_FIELD_CNN = [["conv", 32, 3, 1, "norm"], ["average", 2], ["conv", 64, 3, 1, "norm"], ["average", 2]]
_FIELD_CNN += [["dense", 256], ["readout", 10]]
_BLOCK = [["conv", 32, 3, 1, "norm"], ["conv", 32, 3, 1, "norm"], ["add", 2]]
_RESIDUAL = [["conv", 32, 3, 1, "norm"], ["average", 2], *(3 * _BLOCK), ["average", 2], ["readout", 10]]
_ATTENTION = [["tokens", 192, "norm"], ["attention", 4], ["tokens", 64, "norm"], ["add", 3]]
_SPIKFORMER = [*_ATTENTION, ["tokens", 256, "norm"], ["tokens", 64, "norm"], ["add", 2], ["readout", 10]]
_GESTURE = [
    ["pool", 4],
    ["conv", 16, 5, 2],
    ["pool", 2],
    ["conv", 32, 3, 1],
    ["pool", 2],
    ["dense", 512],
    ["dense", 11],
]
_OF_GESTURE = {"initial": "activity", "activity": 0.005, "sensor": (128, 128, 2)}
_FIELDS = "32c3-BN-LIF-2a-64c3-BN-LIF-2a-256-LIF-10, images of 28 x 28 x 1"
TRAINING |= {
    "field4": Work(f"{_FIELDS}, 4 steps, batch 64", _FIELD_CNN, 64, **_IMAGES),
    "field16": Work(f"{_FIELDS}, 16 steps, batch 64", _FIELD_CNN, 64, **_IMAGES | {"steps": 16}),
    "residual": Work(
        "32c3-BN-LIF-2a, three blocks of two 32c3-BN-LIF, 2a-10, images of 28 x 28 x 1, 4 steps, batch 32",
        _RESIDUAL,
        32,
        **_IMAGES,
    ),
    "spikformer": Work(
        "a block of Spikformer, 64 tokens of 64 features, 4 heads, 4 steps, batch 32, 20 % of steps",
        _SPIKFORMER,
        32,
        _AT_ONCE,
        activity=0.2,
        sensor=(8, 8, 64),
        **_FIELD,
    ),
    "dense256": Work(
        "128-128-128-20, 256 steps, batch 256, 2 % of steps",
        [["dense", 128], ["dense", 128], ["readout", 20]],
        256,
        (("ours", "default"), ("ours", "adlif"), *_AT_ONCE),
        5,
        initial="activity",
        activity=0.02,
        steps=256,
        sensor=(128,),
        ours="lif",
    ),
    "dense256-busy": Work(
        "128-128-128-20, 256 steps, batch 256, 15 % of steps",
        [["dense", 128], ["dense", 128], ["readout", 20]],
        256,
        _AT_ONCE,
        5,
        initial="activity",
        activity=0.15,
        steps=256,
        sensor=(128,),
        ours="lif",
    ),
    "gesture": Work(
        "4a-16c5-2a-32c3-2a-512-11, input of 128 x 128 x 2, 300 steps, batch 4, 0.5 % of steps",
        _GESTURE,
        4,
        (("spikingjelly", "multi-step"), ("snntorch", "hoisted"), ("snntorch", "plain"), ("norse", "plain")),
        3,
        **_OF_GESTURE,
    ),
    "gesture1200": Work(
        "the same, 1,200 steps, batch 4, 0.5 % of steps", _GESTURE, 4, (), 5, steps=1200, **_OF_GESTURE
    ),
}
# The sweeps over activities: a title, and the names of the works, one for each activity.
SWEEPS = {name: (TRAINING[name].title, [f"{name}-{percent:g}" for percent in ACTIVITIES]) for name in ("mlp8", "cnn8")}
for _name, _repeats in (("mlp8", 5), ("cnn8", 3)):
    for _percent in ACTIVITIES:
        _work = TRAINING[_name]
        _out = ("ours", *_SLOW) if _name == "cnn8" and _percent != ACTIVITIES[-1] else ("ours",)
        TRAINING[f"{_name}-{_percent:g}"] = Work(
            f"{_work.title}, {_percent:g} % of steps",
            _work.layers,
            8,
            _without(_work.peers, *_out),
            _repeats,
            initial="activity",
            activity=_percent / 100,
            like=_name,
        )
# The network of the works that need recordings one by one, or as a stream.
ALONE = "mlp8"
WORKS = (*TRAINING, "inference", "stream")
