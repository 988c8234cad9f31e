"""Leaky neurons as NIR's nodes, in a dialect, and back."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np

from cuslayer import check
from cuslayer.backend import Array
from cuslayer.interchange.nir.dialects import DIALECTS, Dialect
from cuslayer.neurons import CUBA, LIF
from cuslayer.neurons.base import Neuron
from cuslayer.neurons.names import make_neuron, neuron_constants

# The name of what a node's metadata has for `import_nir`.
NOTE = "cuslayer"
# How far a node may be from that of the neuron in its metadata.
_CLOSE = 1e-5
# Shares of the voltage under this are none: a neuron without memory.
_NO_MEMORY = 1e-30


class Node(NamedTuple):
    """A node of NIR.

    Attributes:
        kind: the name of its class.
        fields: its fields.
    """

    kind: str
    fields: dict[str, Array]


class Written(NamedTuple):
    """How a neuron was written.

    Attributes:
        dialect: the dialect.
        step: the step in the file's unit of time.
        dt: the step, ms.
        gain: the factor of its input, as in front of it is a pooling layer whose gain NIR does not have.
    """

    dialect: Dialect
    step: float
    dt: float
    gain: float = 1.0


def node_of(where: str, neuron: Neuron, shape: tuple[int, ...], how: Written) -> Node:
    """Return the node of a neuron.

    Args:
        where: the prefix of errors.
        neuron: the neuron.
        shape: (H, W, C) or (N,), the shape of its layer.
        how: how it is written.

    Raises:
        ValueError: NIR, or the dialect, cannot say what the neuron is.
    """
    form, dialect = neuron.leaky_form, how.dialect
    if form is None:
        reason = "NIR's neurons are LIF and CubaLIF"
        if neuron.one_pass is not None:
            reason += ", without an alpha response and a refractory response; approximate= writes CUBA neurons"
        raise ValueError(f"{where} cannot be written: {reason}")
    if form.graded:
        raise ValueError(f"{where} cannot be written: spikes in NIR are 0 or 1, not graded")
    if form.reset != dialect.reset:
        raise ValueError(
            f"{where} cannot be written: neurons in the dialect {dialect.name} have reset={dialect.reset!r}, "
            f"not {form.reset!r}"
        )
    if form.i_keep is not None and "CubaLIF" not in dialect.reads:
        raise ValueError(f"{where} cannot be written: the dialect {dialect.name} has no neurons with a current")

    if len(shape) == 3 and not dialect.frames:
        raise ValueError(f"{where} cannot be written: the reader of {dialect.name} fails at neurons of frames")

    def spread(values: Any) -> Array:
        whole = np.broadcast_to(values, shape)
        return np.ascontiguousarray(whole.transpose(2, 0, 1) if len(shape) == 3 else whole).astype(np.float32)

    def threshold(value: Any) -> Array:
        return spread(dialect.threshold(value))

    v_keep, step, gain = form.v_keep, how.step, how.gain
    if form.i_keep is None and (v_keep < _NO_MEMORY).all():
        return Node("Threshold", {"threshold": threshold(form.theta / gain)})
    unit = dialect.tau(v_keep, step)
    r = 1.0 / (1.0 - v_keep)  # gives the input a gain of 1
    rest = {"v_leak": spread(0.0)}
    if form.i_keep is None:
        if dialect.reads_r:
            scale, level = gain * r, np.asarray(form.theta)
        else:  # the gain that is there without r
            bare = np.ones(()) if dialect.exact else 1.0 - v_keep
            scale, level = (r if dialect.exact else np.ones(())), form.theta * bare / gain
        return Node("LIF", {"tau": spread(unit), "r": spread(scale), "v_threshold": threshold(level), **rest})
    current = {"tau_syn": spread(dialect.tau(form.i_keep, step)), "w_in": spread(gain / (1.0 - form.i_keep))}
    return Node(
        "CubaLIF", {"tau_mem": spread(unit), "r": spread(r), "v_threshold": threshold(form.theta), **current, **rest}
    )


def note_of(neuron: Neuron, how: Written) -> dict[str, str]:
    """Return the metadata of a neuron's node: its constants, by which `import_nir` returns it to the bit."""
    note = {"dialect": how.dialect.name, "step": how.step, "dt": how.dt, "gain": how.gain}
    return {NOTE: json.dumps(note | {"neuron": neuron_constants(neuron)})}


def note_in(fields: dict[str, Any]) -> dict[str, Any] | None:
    """Return what `note_of` has written; None if there is none, or it cannot be read."""
    metadata = fields.get("metadata")
    try:
        found = json.loads(metadata[NOTE]) if isinstance(metadata, dict) else None
        return found if isinstance(found, dict) else None
    except (KeyError, TypeError, ValueError, RecursionError):
        return None


def noted_neuron(
    kind: str, fields: dict[str, Any], shape: tuple[int, ...], how: Written
) -> tuple[Neuron, float] | None:
    """Return the neuron in a node's metadata and the gain in front of it; None unless the node is still its own."""
    note = note_in(fields)
    if note is None or (note.get("dialect"), note.get("step"), note.get("dt")) != (how.dialect.name, how.step, how.dt):
        return None
    try:
        neuron, gain = make_neuron("import_nir: ", note["neuron"], how.dt), float(note["gain"])
        expected = node_of("import_nir", neuron, shape, how._replace(gain=gain))
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
        return None
    same = kind == expected.kind and all(
        name in fields
        and np.shape(fields[name]) == values.shape
        and np.allclose(fields[name], values, rtol=_CLOSE, atol=1e-30)
        for name, values in expected.fields.items()
    )
    return (neuron, gain) if same else None


def neuron_of(where: str, kind: str, fields: dict[str, Any], how: Written) -> tuple[Neuron, Array]:
    """Return the neuron of a node, and the factor of its input, which is 1 or an array of a factor for each neuron.

    Raises:
        ValueError: a value is missing or out of range, or the neuron has a reset to what is not its leak.
    """

    def values(name: str, default: float | None = None) -> Array:
        if name not in fields and default is None:
            raise ValueError(f"{where} has no {name}")
        found = np.asarray(fields.get(name, default))
        if found.dtype.kind not in "iuf" or not np.isfinite(found).all():
            raise ValueError(f"{where}: {name} must be finite numbers")
        found = found.astype(np.float64)
        return np.ascontiguousarray(found.transpose(1, 2, 0)) if found.ndim == 3 else found

    dialect, step = how.dialect, how.step
    level = dialect.theta(values("threshold" if kind == "Threshold" else "v_threshold")).astype(np.float64)
    if kind == "Threshold":
        constants, gain = {"tau": how.dt * 1e-3}, np.ones(())
        reset = "zero"
    else:
        leak = values("v_leak", 0.0)
        if (values("v_reset", 0.0) != leak).any():
            raise ValueError(f"{where}: v_reset must be v_leak, to which the voltage decays")
        level, reset = level - leak, dialect.reset
        names = {"LIF": {"tau": "tau"}, "CubaLIF": {"tau_i": "tau_syn", "tau_v": "tau_mem"}, "IF": {}}[kind]
        keeps = {ours: dialect.keep(values(theirs), step) for ours, theirs in names.items()}
        for ours, keep in keeps.items():
            if not ((keep > 0) & (keep < 1)).all():
                raise ValueError(f"{where}: {_too_short(names[ours], values(names[ours]), dialect, step)}")
        gain = values("r", 1.0) * (step if kind == "IF" else 1.0)
        if "tau_i" in keeps:
            gain = gain * values("w_in", 1.0) * (1.0 - keeps["tau_i"]) * (1.0 - keeps["tau_v"])
        elif keeps:
            gain = gain * (1.0 - keeps["tau"])
        constants = {ours: _uniform(-how.dt / np.log(keep)) for ours, keep in keeps.items()}
        if kind == "IF":
            constants = {"tau": how.dt * 1e20}
    if not (level > 0).all():
        raise ValueError(f"{where}: thresholds must be above the leak")
    if not (gain > 0).all():
        raise ValueError(f"{where}: r and w_in must be positive")
    theta = float(_uniform(level / gain)) if np.size(_uniform(level / gain)) == 1 else 1.0
    if np.allclose(gain, 1.0, rtol=_CLOSE) and np.size(_uniform(level)) == 1:
        theta, factor = float(_uniform(level)), np.ones(())
    else:
        factor = np.ones(()) if np.size(_uniform(level / gain)) == 1 else gain / level
    made: dict[str, Any] = {
        "theta": check.positive(where, "v_threshold", theta),
        "reset": reset,
        "dt": how.dt,
        **constants,
    }
    return (CUBA if kind == "CubaLIF" else LIF)(**made), factor


def _too_short(name: str, tau: Array, dialect: Dialect, step: float) -> str:
    """Return why time constants of a node are none of a dialect, and the dialects of which they may be."""
    least = float(tau.min())
    others = [each.name for each in DIALECTS.values() if each.step is not None and each.step < least]
    cure = f"; dialect={' or '.join(map(repr, others))} has a shorter step" if others else ""
    return f"{name} must be above the step of the dialect {dialect.name}, {step:g}, got {least:g}{cure}"


def _uniform(values: Array) -> Any:
    """Return an array, or its number if all are close to it."""
    first = values.flat[0] if values.size else 1.0
    return float(first) if np.allclose(values, first, rtol=1e-7, atol=0) else values
