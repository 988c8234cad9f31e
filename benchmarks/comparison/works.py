"""The measurements, and the libraries and forms that take part."""

from __future__ import annotations

from dataclasses import dataclass

STEPS = 300  # of 1 ms

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


@dataclass(frozen=True)
class Work:
    """A network, and what is compared with cuslayer's default on it.

    Attributes:
        title: the network and the batch.
        layers: as in `comparison.models.stages`.
        batch: the number of recordings.
        peers: pairs of library and form.
        repeats: the steps that are timed.
        initial: how cuslayer's weights begin, see `comparison.models.ours.Network`.
        activity: the share of steps in which each pixel and polarity of a random input fires; None for recordings.
        like: the work in which the forms were compared: of each library only the fastest one takes part.
        steps: of 1 ms; None for those of the script.
        sensor: the shape of a random input.
    """

    title: str
    layers: list[list]
    batch: int
    peers: tuple[tuple[str, str], ...]
    repeats: int
    initial: str = "examples"
    activity: float | None = None
    like: str | None = None
    steps: int | None = None
    sensor: tuple[int, ...] = (34, 34, 2)

    @property
    def of_sweep(self) -> bool:
        """Whether it is one of several activities."""
        return self.activity is not None and self.like is not None


_MLP = [["dense", 512], ["dense", 10]]
_CNN = [["conv", 16, 5, 1], ["pool", 2], ["conv", 32, 3, 1], ["pool", 2], ["conv", 64, 3, 1], ["dense", 10]]
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
    ("spikingjelly", "multi-step"),
    ("spikingjelly", "plain"),
    ("snntorch", "hoisted"),
    ("snntorch", "plain"),
    ("norse", "plain"),
    ("eventprop", "plain"),
    ("sinabs", "multi-step"),
    ("spyx", "layers"),
    ("brainevent", "events"),
)
_OF_RECURRENT = (
    ("spikingjelly", "multi-step"),
    ("spikingjelly", "plain"),
    ("snntorch", "hoisted"),
    ("snntorch", "plain"),
)
# The shares of steps in which everything fires, in %.
ACTIVITIES = (0.5, 2, 10, 30, 60)
# Libraries whose steps of the CNN take so long that after `cnn8` they are measured at the greatest activity alone.
SLOW = ("lava", "sinabs")

MLP, CNN = "MLP 2312-512-10", "CNN 16c5-2a-32c3-2a-64c3-10"


def _without(peers: tuple[tuple[str, str], ...], *libraries: str) -> tuple[tuple[str, str], ...]:
    return tuple((peer, form) for peer, form in peers if peer not in libraries)


def _at(name: str, title: str, layers: list[list], peers: tuple[tuple[str, str], ...], repeats: int) -> dict[str, Work]:
    """Return the works of a network at each activity."""
    found = {}
    for percent in ACTIVITIES:
        slow = SLOW if layers is _CNN and percent != ACTIVITIES[-1] else ()
        taking_part = _without(peers, "ours", *slow)
        words = f"{title}, batch 8, {percent:g} % of steps"
        found[f"{name}-{percent:g}"] = Work(
            words, layers, 8, taking_part, repeats, initial="activity", activity=percent / 100, like=name
        )
    return found


# The sweeps over activities: a title, and the names of the works, one for each activity.
SWEEPS = {
    "mlp8": (f"{MLP}, batch 8", [f"mlp8-{percent:g}" for percent in ACTIVITIES]),
    "cnn8": (f"{CNN}, batch 8", [f"cnn8-{percent:g}" for percent in ACTIVITIES]),
}
TRAINING = {
    "mlp8": Work(f"{MLP}, batch 8", _MLP, 8, _OF_MLP, 7),
    "mlp32": Work(f"{MLP}, batch 32", _MLP, 32, _OF_MLP, 7),
    "cnn8": Work(f"{CNN}, batch 8", _CNN, 8, _OF_CNN, 3),
    "cnn8-initial": Work(
        f"{CNN}, batch 8, SLAYER's initial scales", _CNN, 8, _without(_OF_CNN, *SLOW), 3, initial="slayer", like="cnn8"
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
    **_at("mlp8", MLP, _MLP, _OF_MLP, 5),
    **_at("cnn8", CNN, _CNN, _OF_CNN, 3),
}
# The works whose peaks of memory have a table of their own.
MEMORY = ("mlp32", "cnn8")
# The network of the works that need recordings one by one, or as a stream.
ALONE = "mlp8"
WORKS = (*TRAINING, "inference", "stream")

# What is not compared, and why.
LEFT_OUT = {
    "eventax and jaxsnn, EventProp on JAX": "they compute in continuous time: an output is a list of times"
    " of spikes, without the steps of 1 ms, the firing rates and the rate loss that are the same for all others.",
}
