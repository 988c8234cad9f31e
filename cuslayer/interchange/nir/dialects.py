"""How libraries read NIR's continuous time: their step, their discretization, and what of a neuron they ignore.

NIR's neurons are differential equations: ``tau dv/dt = v_leak - v + r I``, a spike where ``v > v_threshold``, after
which v is v_reset. A library makes steps of them, each in its own way, and so the same file gives different spikes. A
dialect is such a way. With h the step in the file's unit of time, a step is ``v[t] = keep r[t-1] + gain x[t]``:

======== ====== ================ ============= ===== =================== ===========================================
dialect  h      keep             gain          spike reset               notes
======== ====== ================ ============= ===== =================== ===========================================
nir      dt, s  1 - h / tau      r h / tau     >     v_reset             the equations of NIR by forward Euler
snntorch 1e-4   1 - h / tau      r h / tau     >     0                   one threshold, by which the gain is divided
norse    1e-3   1 - h / tau      h / tau       >     0                   LIF ignores r; CubaLIF reads r and w_in
sinabs   1      exp(-1 / tau)    1             >=    v - n v_threshold   no r, CubaLIF, Linear, frames; n spikes
======== ====== ================ ============= ===== =================== ===========================================

The current of a CubaLIF is kept and scaled in the same way, with tau_syn and w_in, before it enters the voltage of the
same step. Which nodes each reader has is in `Dialect.reads`; what it does not have, some leave out without a word.

Source: Pedersen et al. 2024, "Neuromorphic intermediate representation", and the readers of snntorch 1.0.0, norse 1.1.0
and sinabs 3.1.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from cuslayer import check
from cuslayer.backend import Array

# The nodes that every reader has.
_ALL = ("Affine", "Conv2d", "Flatten", "LIF")
_RESETS = "how a spike resets: read is reset_mechanism='zero' with reset_delay=False, the default there moves spikes"
_SPIKES = "how often a neuron fires in a step: read is spike_fn=SingleSpike, the default there moves spikes"
_CURRENT = "if a neuron is LIFCell, which takes the current of the step before; read is the equation of CubaLIF"


class Dialect(NamedTuple):
    """A way to read NIR.

    Attributes:
        name: its name.
        step: the step in the file's unit of time; None for that of the neurons, in seconds.
        exact: whether a step keeps ``exp(-h / tau)`` of a state, instead of ``1 - h / tau``.
        reads_r: whether LIF has its r; else the gain is that for an r of 1.
        strict: whether a spike needs ``v > v_threshold``, instead of ``>=``.
        reset: what a spike does to the voltage.
        reads: the nodes that the reader has, of those that `export_nir` can write. Affine with a bias of 0 stands for
            Linear, and AvgPool2d for SumPool2d.
        pads: whether pooling has a padding.
        frames: whether neurons may be those of frames.
        loops: how neurons feed themselves: by "edges" of the graph, in a "graph" within it, or not, None.
        loops_doubt: what may go wrong where they do.
        doubts: what the library's own files do not say of neurons, by the node.
    """

    name: str
    step: float | None = None
    exact: bool = False
    reads_r: bool = True
    strict: bool = True
    reset: str = "zero"
    reads: tuple[str, ...] = (*_ALL, "Linear", "SumPool2d", "CubaLIF", "Threshold", "Delay")
    pads: bool = True
    frames: bool = True
    loops: str | None = "edges"
    loops_doubt: str = ""
    doubts: Mapping[str, str] = MappingProxyType({})

    def tau(self, keep: Array, step: float) -> Array:
        """Return the time constant of which a step keeps a share."""
        return -step / np.log(keep) if self.exact else step / (1.0 - keep)

    def keep(self, tau: Array, step: float) -> Array:
        """Return the share that a step keeps."""
        return np.exp(-step / tau) if self.exact else 1.0 - step / tau

    def threshold(self, theta: Array) -> Array:
        """Return v_threshold, float32: where spikes need more than it, the next number under theta."""
        exact = np.asarray(theta, np.float32)
        return np.nextafter(exact, np.float32(-np.inf)) if self.strict else exact

    def theta(self, threshold: Array) -> Array:
        """Return the inverse of `threshold`."""
        exact = np.asarray(threshold, np.float32)
        return np.nextafter(exact, np.float32(np.inf)) if self.strict else exact


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


def dialect_of(op: str, name: str) -> Dialect:
    """Return a dialect by its name.

    Raises:
        ValueError: there is none of this name.
    """
    return DIALECTS[check.one_of(op, "dialect", name, sorted(DIALECTS))]
