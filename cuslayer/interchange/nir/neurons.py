"""Leaky neurons as NIR's nodes, and back, in the dialects of the libraries that read NIR.

NIR's neurons are differential equations: ``tau dv/dt = v_leak - v + r I``, a spike where ``v > v_threshold``, after
which v is v_reset. Each library turns them into steps in its own way, a dialect, so the same file gives different
spikes; docs/exchange.md has the table. With h the step in the file's unit of time, a step is
``v[t] = keep r[t-1] + gain x[t]``. The current of a CubaLIF decays and scales in the same way, with tau_syn and w_in,
before it enters the voltage of the same step.

Source: Pedersen et al. 2024, "Neuromorphic intermediate representation", and the readers of snntorch 1.0.0, norse 1.1.0
and sinabs 3.1.3.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from cuslayer._base import check
from cuslayer.backend import Array
from cuslayer.interchange.axes import channels_first, finite_numbers, values_first, values_last
from cuslayer.neurons import CUBA, LIF
from cuslayer.neurons.base import Neuron
from cuslayer.neurons.names import make_neuron, neuron_constants

# The time of nir grows with the square of the edges of a file, and with their product in graphs within graphs.
MOST_EDGES = 2000
# The key of a node's metadata for `import_nir`.
NOTE = "cuslayer"
# How far a node may be from the neuron in its metadata.
_CLOSE = 1e-5
# A smaller decay of the voltage counts as 0: a neuron without memory.
_NO_MEMORY = 1e-30
# The nodes that every reader has.
_ALL = ("Affine", "Conv2d", "Flatten", "LIF")
_RESETS = "how a spike resets: read is reset_mechanism='zero' with reset_delay=False, the default there moves spikes"
_SPIKES = "how often a neuron fires in a step: read is spike_fn=SingleSpike, the default there moves spikes"
_CURRENT = "if a neuron is LIFCell, which takes the current of the step before; read is the equation of CubaLIF"


class Dialect(NamedTuple):
    """A way to read NIR."""

    name: str
    step: float | None = None  # in the file's unit of time; None: the neurons', in seconds
    exact: bool = False  # a step keeps exp(-h / tau) of a state, instead of 1 - h / tau
    reads_r: bool = True  # of LIF; else the gain is for an r of 1
    strict: bool = True  # a spike needs v > v_threshold, instead of >=
    reset: str = "zero"
    # The nodes of `export_nir` that the reader has; some readers silently omit others. Affine with a bias of 0 stands
    # for Linear, and AvgPool2d for SumPool2d.
    reads: tuple[str, ...] = (*_ALL, "Linear", "SumPool2d", "AvgPool2d", "CubaLIF", "Threshold", "Delay")
    pads: bool = True  # pooling has a padding
    frames: bool = True  # neurons may have frames
    loops: str | None = "edges"  # how neurons feed themselves: in the graph, or in a "graph" within it; None: not
    loops_doubt: str = ""  # what may go wrong there
    doubts: Mapping[str, str] = MappingProxyType({})  # what the library's own files omit of neurons, by the node

    def tau(self, keep: Array, step: float) -> Array:
        """Return the time constant of a decay."""
        return -step / np.log(keep) if self.exact else step / (1.0 - keep)

    def keep(self, tau: Array, step: float) -> Array:
        """Return the decay of a step."""
        return np.exp(-step / tau) if self.exact else 1.0 - step / tau

    def threshold(self, theta: Any, towards: float = -np.inf) -> Array:
        """Return v_threshold, float32: the next number below theta if spikes need more than it."""
        exact = np.asarray(theta, np.float32)
        return np.nextafter(exact, np.float32(towards)) if self.strict else exact

    def theta(self, threshold: Array) -> Array:
        """Return the inverse of `threshold`."""
        return self.threshold(threshold, np.inf)


DIALECTS = {
    dialect.name: dialect
    for dialect in (
        Dialect("nir"),
        Dialect(
            "snntorch",
            step=1e-4,
            reads=(*_ALL, "Linear", "AvgPool2d", "CubaLIF"),
            loops="graph",
            loops_doubt="2.0.2 fails at it, 2.0.5 gives its spikes, 2.6 gives others",
            doubts={"LIF": _RESETS, "CubaLIF": _RESETS},
        ),
        Dialect(
            "norse",
            step=1e-3,
            reads_r=False,
            reads=(*_ALL, "Linear", "SumPool2d", "CubaLIF"),
            pads=False,
            doubts={"CubaLIF": _CURRENT},
        ),
        Dialect(
            "sinabs",
            step=1.0,
            exact=True,
            reads_r=False,
            strict=False,
            reset="subtract",
            reads=(*_ALL, "SumPool2d"),
            pads=False,
            frames=False,
            loops=None,
            doubts={"LIF": _SPIKES, "IF": _SPIKES},
        ),
    )
}


def dialect_of(name: str) -> Dialect:
    """Return a dialect by its name."""
    return DIALECTS[check.one_of("dialect", name, sorted(DIALECTS))]


class Written(NamedTuple):
    """How a neuron was written."""

    dialect: Dialect
    step: float  # in the file's unit of time
    dt: float  # ms
    gain: float = 1.0  # of a pooling layer before it, which NIR does not have


def node_of(where: str, neuron: Neuron, shape: tuple[int, ...], how: Written) -> tuple[str, dict[str, Array]]:
    """Return the name of a neuron's node, and its fields; `shape` is (H, W, C) or (N,)."""
    form, dialect, where = neuron.leaky_form, how.dialect, f"{where} cannot be written:"
    if form is None:
        reason = "NIR's neurons are LIF and CubaLIF"
        if neuron.srm_form is not None:
            reason += ", without an alpha response and a refractory response; approximate= writes CUBA neurons"
        raise ValueError(f"{where} {reason}")
    if not neuron.starts_at_zero:
        raise ValueError(f"{where} states in NIR begin with 0, not with {dict(getattr(neuron, 'start', {}))}")
    if form.graded:
        raise ValueError(f"{where} spikes in NIR are 0 or 1, not graded")
    if form.reset != dialect.reset:
        theirs = f"neurons in the dialect {dialect.name} have reset={dialect.reset!r}"
        raise ValueError(f"{where} {theirs}, not {form.reset!r}")
    if form.i_keep is not None and "CubaLIF" not in dialect.reads:
        raise ValueError(f"{where} the dialect {dialect.name} has no neurons with a current")
    if len(shape) == 3 and not dialect.frames:
        raise ValueError(f"{where} the reader of {dialect.name} fails at neurons of frames")

    def spread(values: Any) -> Array:
        return values_first(np.broadcast_to(values, shape)).astype(np.float32)

    v_keep, step, gain = form.v_keep, how.step, how.gain
    if form.i_keep is None and (v_keep < _NO_MEMORY).all():
        return "Threshold", {"threshold": spread(dialect.threshold(form.theta / gain))}
    r, level = 1.0 / (1.0 - v_keep), np.asarray(form.theta)  # this r gives the input a gain of 1
    tau = spread(dialect.tau(v_keep, step))
    if form.i_keep is not None:
        fields = {"tau_mem": tau, "r": spread(r)}
        fields |= {"tau_syn": spread(dialect.tau(form.i_keep, step)), "w_in": spread(gain / (1.0 - form.i_keep))}
    elif dialect.reads_r:
        fields = {"tau": tau, "r": spread(gain * r)}
    else:  # the gain that is there without r
        level = form.theta * (np.ones(()) if dialect.exact else 1.0 - v_keep) / gain
        fields = {"tau": tau, "r": spread(r if dialect.exact else np.ones(()))}
    kind = "LIF" if form.i_keep is None else "CubaLIF"
    return kind, {**fields, "v_threshold": spread(dialect.threshold(level)), "v_leak": spread(0.0)}


def note_of(neuron: Neuron, how: Written) -> dict[str, str]:
    """Return the metadata of a neuron's node: its constants, by which `import_nir` returns it to the bit."""
    note = {"dialect": how.dialect.name, "step": how.step, "dt": how.dt, "gain": how.gain}
    return {NOTE: json.dumps(note | {"neuron": neuron_constants(neuron)})}


def note_in(node: Any) -> dict[str, Any] | None:
    """Return the metadata of `note_of`; None if there is none, or it cannot be read."""
    try:
        found = json.loads(node.metadata[NOTE])
        return found if isinstance(found, dict) else None
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError):
        return None


def noted_neuron(node: Any, shape: tuple[int, ...], how: Written) -> tuple[Neuron, float] | None:
    """Return the neuron in a node's metadata and the gain before it; None unless the node is still its own."""
    note = note_in(node)
    if note is None or (note.get("dialect"), note.get("step"), note.get("dt")) != (how.dialect.name, how.step, how.dt):
        return None
    # Before constants are spread over a shape that the file only names.
    level: Any = getattr(node, "v_threshold", getattr(node, "threshold", 0.0))
    if np.shape(level) != channels_first(shape):
        return None
    try:
        neuron, gain = make_neuron("", note["neuron"], how.dt), float(note["gain"])
        kind, fields = node_of("", neuron, shape, how._replace(gain=gain))
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
        return None
    same = kind == type(node).__name__ and all(
        np.shape(getattr(node, name)) == values.shape
        and np.allclose(getattr(node, name), values, rtol=_CLOSE, atol=1e-30)
        for name, values in fields.items()
    )
    return (neuron, gain) if same else None


def numbers(where: str, node: Any, name: str, default: float | None = None) -> Array:
    """Return a field of a node as an array of numbers that are finite in float32."""
    return finite_numbers(f"{where}: {name}", getattr(node, name, default))


def neuron_of(where: str, node: Any, how: Written) -> tuple[Neuron, Array]:
    """Return the neuron of a node, and the factor of its input: 1, or an array with a factor for each neuron."""

    def values(name: str, default: float | None = None) -> Array:
        return values_last(numbers(where, node, name, default).astype(np.float64))

    kind, dialect, step = type(node).__name__, how.dialect, how.step
    level = dialect.theta(values("threshold" if kind == "Threshold" else "v_threshold")).astype(np.float64)
    taus = {"LIF": {"tau": "tau"}, "CubaLIF": {"tau_i": "tau_syn", "tau_v": "tau_mem"}}.get(kind, {})
    constants: dict[str, Any] = {"Threshold": {"tau": how.dt * 1e-3}, "IF": {"tau": how.dt * 1e20}}.get(kind, {})
    gain, reset = np.ones(()), "zero"
    if kind != "Threshold":
        leak, reset = values("v_leak", 0.0), dialect.reset
        if (values("v_reset", 0.0) != leak).any():
            raise ValueError(f"{where}: v_reset must be v_leak, to which the voltage decays")
        level = level - leak
        gain = values("r") * (step if kind == "IF" else values("w_in", 1.0))
    for ours, theirs in taus.items():
        tau = values(theirs)
        keep = dialect.keep(tau, step)
        if not ((keep > 0) & (keep < 1)).all():
            raise ValueError(f"{where}: {_too_short(theirs, tau, dialect, step)}")
        gain = gain * (1.0 - keep)
        constants[ours] = _uniform(-how.dt / np.log(keep))
    if not (level > 0).all():
        raise ValueError(f"{where}: thresholds must be above the leak")
    if not (gain > 0).all():
        raise ValueError(f"{where}: r and w_in must be positive")
    theta, factor = 1.0, np.ones(())
    if np.allclose(gain, 1.0, rtol=_CLOSE) and np.ndim(_uniform(level)) == 0:
        theta = _uniform(level)
    elif np.ndim(_uniform(level / gain)) == 0:
        theta = _uniform(level / gain)
    else:
        factor = gain / level
    theta = check.positive(f"{where}: v_threshold", theta)
    return (CUBA if kind == "CubaLIF" else LIF)(theta=theta, reset=reset, dt=how.dt, **constants), factor


def _too_short(name: str, tau: Array, dialect: Dialect, step: float) -> str:
    """Return why time constants of a node do not fit a dialect, and the dialects that they may fit."""
    least = float(tau.min())
    others = [each.name for each in DIALECTS.values() if each.step is not None and each.step < least]
    cure = f"; dialect={' or '.join(map(repr, others))} has a shorter step" if others else ""
    return f"{name} must be above the step of the dialect {dialect.name}, {step:g}, got {least:g}{cure}"


def _uniform(values: Array) -> Any:
    """Return an array, or its number if all are close to it."""
    first = values.flat[0] if values.size else 1.0
    return float(first) if np.allclose(values, first, rtol=1e-7, atol=0) else values
