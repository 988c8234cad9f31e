"""`smallest_change`: the few input spikes whose removal or addition makes a network give another answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._tape import Tensor, gradients, no_grad
from cuslayer.backend import Array, to_device, to_numpy
from cuslayer.inspection.decomposition import Index, index_text
from cuslayer.inspection.structure import dt_at
from cuslayer.loss.base import over_time
from cuslayer.network.graph import finite_input
from cuslayer.network.walk import check_network, copied, eval_mode

if TYPE_CHECKING:
    from cuslayer.network.network import Container

# Rounds of the search, each with a new order of the spikes.
_ROUNDS = 50
# Inputs that run at once.
_BATCH = 16


class Edit(NamedTuple):
    """A spike of the input that is removed or added.

    Attributes:
        time: the step.
        sender: the index of the neuron or pixel.
        added: whether it is added.
    """

    time: int
    sender: Index
    added: bool


@dataclass(frozen=True, repr=False)
class InputChange:
    """A change of an input with which a network gives another answer.

    Attributes:
        edits: the spikes that are removed or added, in order of time.
        label: the answer with the change.
        answer: the answer without it.
        x: (T, ...), the changed input of the sample.
        dt: the step in ms.
    """

    edits: tuple[Edit, ...]
    label: int
    answer: int
    x: Array
    dt: float

    @property
    def removed(self) -> tuple[Edit, ...]:
        """The spikes that are removed."""
        return tuple(edit for edit in self.edits if not edit.added)

    @property
    def added(self) -> tuple[Edit, ...]:
        """The spikes that are added."""
        return tuple(edit for edit in self.edits if edit.added)

    def __repr__(self) -> str:
        counts = f"{len(self.removed)} spikes removed, {len(self.added)} added"
        lines = [f"class {self.label} instead of {self.answer}: {counts}"]
        for edit in self.edits[:10]:
            sign = "+" if edit.added else "-"
            lines.append(f"  {sign} input {index_text(edit.sender)} at {edit.time * self.dt:g} ms")
        if len(self.edits) > 10:
            lines.append(f"  and {len(self.edits) - 10} more")
        return "\n".join(lines)


@check.operation
def smallest_change(net: Container, x: TensorLike, label: int, sample: int = 0) -> InputChange:
    """Find a smallest set of input spikes to remove or add, with which the network's answer is a label.

    The answer is that of `classify`, in evaluation. The gradient gives each spike, present or absent, its part of the
    label's score minus that of the largest other class. In the order of these parts spikes are removed and added until
    the answer is the label; then as many as possible are put back. Each step is verified by a run.

    The result is a local minimum: without any single one of its edits the answer is wrong. There may be other sets, and
    smaller ones.

    Args:
        net: a `Network` or `Sequential` whose output is one neuron, or one read-out, for each class.
        x: (T, N, ...), boolean, its input.
        label: the class that should win.
        sample: the sample in the batch.

    Returns:
        The edits, and the changed input; without edits if the answer is the label already.

    Raises:
        TypeError: net is not a network or cannot be copied, x is not boolean, or label is not an integer.
        ValueError: the output is not (T, N, classes), or no change is found.
        IndexError: label or sample is out of range.

    Source: leaving out what is not needed is the minimization of Zeller and Hildebrandt 2002, "Simplifying and
    isolating failure-inducing input", doi 10.1109/32.988498.

    >>> import numpy as np
    >>> from cuslayer.layers import Dense
    >>> from cuslayer.network import Sequential
    >>> from cuslayer.neurons import LIF
    >>> net = Sequential(Dense(2, 2), LIF(tau=10.0))
    >>> net[0].weight.data[:] = [[1.5, 0.0], [0.0, 1.5]]
    >>> x = np.zeros((5, 1, 2), bool); x[[1, 3], 0, 0] = x[2, 0, 1] = True
    >>> change = smallest_change(net, x, label=1)
    >>> len(change.edits), change.answer
    (2, 0)
    """
    check_network(net)
    signal = finite_input("x", x)
    check.time_first("x", signal)
    if signal.dtype != bool:
        raise check.mistyped("x", "must be spikes, a boolean array", signal.data)
    number = check.index("sample", sample, signal.shape[1])
    end = len(signal.data) if signal.lengths is None else int(signal.lengths[number])
    given = to_numpy(signal.data)[:end, number]
    with copied(net) as (twin,), eval_mode(twin):
        search = _Search(twin, given, label)
        answer = int(search.scores([frozenset()])[0].argmax())
        edits = search.prune(search.find())
    places = sorted(np.unravel_index(edit, given.shape) for edit in edits)
    changed = search.changed(edits)
    found = [Edit(int(t), tuple(map(int, index)), bool(changed[(t, *index)])) for t, *index in places]
    return InputChange(tuple(found), search.label, answer, changed, dt_at(net, 0))


class _Search:
    """Searches among the inputs that differ from one in some places: sets of flat indices."""

    def __init__(self, net: Any, x: Array, label: object) -> None:
        self.net = net
        self.x = x
        with no_grad():
            out = self._run(np.asarray(x)[:, None])
        if out.ndim != 3:
            raise ValueError(f"net must have an output (T, N, classes), got {out.shape}")
        self.label = check.index("label", label, out.shape[2], "classes")

    def _run(self, batch: Array, *, leaf: bool = False) -> Any:
        """Return the output for a batch, with the batch as a leaf of its gradient."""
        with eval_mode(self.net):
            x = Tensor(to_device(batch), requires_grad=leaf)
            out = self.net(x)
        return (out, x) if leaf else out

    def changed(self, edits: frozenset[int] | Sequence[int]) -> Array:
        """Return the input with edits."""
        changed = self.x.copy()
        places = np.array(sorted(edits), np.int64)
        changed.flat[places] ^= True
        return changed

    def scores(self, sets: Sequence[frozenset[int]]) -> Array:
        """Return the scores (sets, classes) of the input with each of several sets of edits."""
        rows = []
        with no_grad():
            for first in range(0, len(sets), _BATCH):
                batch = np.stack([self.changed(edits) for edits in sets[first : first + _BATCH]], axis=1)
                rows.append(to_numpy(over_time(self._run(batch).data, "sum")).astype(np.float64))
        return np.concatenate(rows)

    def margins(self, sets: Sequence[frozenset[int]]) -> tuple[Array, Array]:
        """Return by how much the label's score is above all others for each set, and whether it is the answer."""
        scores = self.scores(sets)
        others = np.delete(scores, self.label, axis=1).max(axis=1, initial=-np.inf)
        return scores[:, self.label] - others, scores.argmax(axis=1) == self.label

    def order(self, edits: frozenset[int]) -> Array:
        """Return the places whose change should help, the most helpful first, by the gradient of the margin."""
        scores = self.scores([edits])[0]
        scores[self.label] = -np.inf
        rival = int(scores.argmax())
        batch = self.changed(edits)[:, None]
        with no_grad(active=False):
            out, x = self._run(batch, leaf=True)
            start = np.zeros(out.shape, np.float32)
            start[..., self.label] = 1.0
            start[..., rival] = -1.0
            (gradient,) = gradients(out, [x], to_device(start))
        if gradient is None:
            return np.empty(0, np.int64)
        gains = (to_numpy(gradient) * np.where(batch, -1.0, 1.0)).ravel()
        order = np.argsort(-gains, kind="stable")
        return order[gains[order] > 0]

    def find(self) -> frozenset[int]:
        """Return edits with which the label is the answer."""
        edits = frozenset[int]()
        seen = {edits}
        if self.margins([edits])[1][0]:
            return edits
        for _ in range(_ROUNDS):
            order = self.order(edits).tolist()
            sizes = [1 << power for power in range(len(order).bit_length())]
            sets = [edits ^ frozenset(order[:size]) for size in sizes]
            sets = [candidate for candidate in sets if candidate not in seen]
            if not sets:
                break
            margins, rights = self.margins(sets)
            if rights.any():
                return sets[int(rights.argmax())]
            # Among equals the largest set: the counts of spikes stand still until a neuron begins to fire.
            edits = sets[np.flatnonzero(margins == margins.max())[-1]]
            seen.add(edits)
        raise ValueError(f"net must answer {self.label} for some change of x, found none in {_ROUNDS} rounds")

    def prune(self, edits: frozenset[int]) -> frozenset[int]:
        """Return edits without those that are not needed: large groups first, at last each alone."""
        size = len(edits)
        while size:
            ordered = sorted(edits)
            sets = [edits - frozenset(ordered[first : first + size]) for first in range(0, len(ordered), size)]
            margins, rights = self.margins(sets)
            if rights.any():
                edits = sets[int(np.where(rights, margins, -np.inf).argmax())]
                size = min(size, len(edits))
            else:
                size //= 2
        return edits
