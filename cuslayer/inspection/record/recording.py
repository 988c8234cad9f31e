"""The arrays of each recorded layer, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np

from cuslayer import check
from cuslayer.backend import Array, to_numpy
from cuslayer.inspection.record import derived
from cuslayer.inspection.record.labelled import Labelled, xarray
from cuslayer.inspection.record.selection import Request, Selection
from cuslayer.inspection.structure import Unit, find_unit, layer_name, neurons_of
from cuslayer.neurons.base import Neuron, OnePass
from cuslayer.neurons.potential import saves_float16

_OF_NEURONS = ("weighted", "potential", "spikes")
_OF_SRM = (*_OF_NEURONS, "filtered", "refractory", "surrogate")
_ERRORS = ("spikes_error", "weighted_error")


def _array(name: str, meaning: str) -> Any:
    """Return a property of `Record`: the array of a name."""
    return property(lambda record: record._labelled(name), doc=meaning)


class Record:
    """The arrays of one layer and the neurons after it, on the CPU: (time, sample, ...).

    With selected neurons, arrays are (time, sample, neuron), in the order of the selection. The errors exist after
    backward. Neurons that are not plain SRM have a filtered input and a refractory part if their `parts` is "exact", a
    surrogate and a current if they define one. A layer without neurons has only an output and its error.
    """

    weighted: Labelled = _array("weighted", "The weighted input x of the neurons.")
    recurrent: Labelled = _array(
        "recurrent",
        "The weighted input that `Recurrent` neurons get from their own spikes, which is not in `weighted`.",
    )
    filtered: Labelled = _array("filtered", "The filtered input a: the membrane potential before refraction.")
    refractory: Labelled = _array(
        "refractory", "The refractory part of the potential, ``u - a``, from the neuron's earlier spikes."
    )
    potential: Labelled = _array(
        "potential", "The membrane potential u after refraction, the input of the threshold and the surrogate."
    )
    spikes: Labelled = _array("spikes", "The spikes, boolean.")
    surrogate: Labelled = _array(
        "surrogate",
        "The surrogate's value rho(u), per ms: the gradient of the potential is ``dt rho(u)`` times the spikes'.",
    )
    spikes_error: Labelled = _array(
        "spikes_error", "The error on the spikes: the gradient of the loss with respect to them."
    )
    potential_error: Labelled = _array(
        "potential_error", "The error on the potential: the gradient of the loss with respect to u."
    )
    weighted_error: Labelled = _array(
        "weighted_error", "The error on the weighted input: the error on the potential, reassigned in time."
    )
    current: Labelled = _array(
        "current", "The synaptic current of neurons that have one, `Loihi`'s in the chip's integers."
    )
    output: Labelled = _array("output", "The output of a layer without neurons.")
    output_error: Labelled = _array("output_error", "The gradient of the loss with respect to that output.")

    def __init__(self, of: Unit, selection: Selection) -> None:
        self._unit, self._selection, self._float16 = of, selection, saves_float16()
        neurons = neurons_of(of)
        self._neurons = neurons
        if neurons is None:
            self._names: tuple[str, ...] = ("output", "output_error")
        elif neurons.one_pass is not None:
            self._names = (*_OF_SRM, *_ERRORS, "potential_error")
        else:
            none = np.zeros((0, 1), np.float32)
            current = () if neurons.current(none) is None else ("current",)
            parts = ("filtered", "refractory") if neurons.parts == "exact" else ()
            surrogate = () if neurons.surrogate(none) is None else ("surrogate",)
            own = () if neurons.recurrence is None else ("recurrent",)
            self._names = (*_OF_NEURONS, *own, *current, *parts, *surrogate, *_ERRORS)
        self._arrays: dict[str, Array] = {}
        self._pending: dict[str, Callable[[], Array]] = {}

    @property
    def indices(self) -> Any:
        """The indices of the selected neurons, (k, axes); None if all are selected."""
        return self._selection.neurons

    @property
    def _name(self) -> str:
        return layer_name(self._unit)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # not set yet, in an object that copy or pickle is creating
            raise AttributeError(name)
        raise AttributeError(f"record: {name!r} is none of {', '.join(self._names)}{check.nearest(name, self._names)}")

    def store(self, **arrays: Array) -> None:
        """Store the selected steps of arrays with all steps."""
        for name, x in arrays.items():
            window = to_numpy(x[self._selection.steps])
            # A copy, so that the steps outside the window are freed.
            self._arrays[name] = window if len(window) == len(x) else window.copy()

    def register(self, **functions: Callable[[], Array]) -> None:
        """Register functions that compute arrays with all steps on first access."""
        self._pending |= functions

    def to_xarray(self) -> Any:
        """Return an `xarray.Dataset` of all available arrays.

        Raises:
            ImportError: xarray is not installed.
        """
        found = {name: self._labelled(name) for name in self._names if self._has(name)}
        return xarray().Dataset({name: x.to_xarray() for name, x in found.items()}, attrs={"layer": self._name})

    def _has(self, name: str) -> bool:
        if name in self._arrays or name in self._pending:
            return True
        if name in ("surrogate", "filtered", "refractory") and name in self._names:
            return "potential" in self._arrays
        if self._neurons is None or self._neurons.one_pass is None or name not in self._names:
            return False
        return not name.endswith("_error") or "spikes_error" in self._arrays

    def _labelled(self, name: str) -> Labelled:
        if not self._has(name):
            if name in self._names and name.endswith("_error"):
                raise ValueError(f"record: {name} of {self._name} is not there before backward")
            if name in self._names:
                raise ValueError(f"record: {self._name} has no {name}: its neurons pass none to save_for_backward")
            raise ValueError(f"record: {self._name} has no {name}, only {', '.join(self._names)}")
        return Labelled(name, self._array(name), self._selection.labels())

    def _array(self, name: str) -> Array:
        """Return an array; compute it on first access, and store it."""
        found = self._arrays
        if name in self._pending:
            self.store(**{name: self._pending.pop(name)()})
        if name not in found:
            found[name] = self._derived(name, cast(Neuron, self._neurons), found["potential"])
        return found[name]

    def _derived(self, name: str, neurons: Neuron, u: Array) -> Array:
        if name == "surrogate":
            return cast(Array, neurons.surrogate(u))
        if name == "filtered":
            return u - self._array("refractory")
        if name == "refractory":
            return derived.refractory(derived.refractory_response(neurons), self._array("spikes"), u.dtype)
        srm = cast(OnePass, neurons.one_pass)
        if name == "spikes":
            return derived.spikes(srm, u)
        if name == "potential_error":
            return derived.potential_error(srm, self._arrays["spikes_error"], u, self._float16)
        return derived.weighted_error(srm, self._array("potential_error"))

    def __repr__(self) -> str:
        there = ", ".join(name for name in self._names if self._has(name))
        shape = next(iter(self._arrays.values())).shape
        axes = zip(self._selection.labels().dims, shape, strict=True)
        return f"Record({self._name}: {', '.join(f'{dim} {size}' for dim, size in axes)}; {there})"


class Recording:
    """The records of a network's last call, by layer.

    ``recording[layer]`` is the `Record` of a layer and the neurons after it, given by the address of either, or by
    the object itself where the network has it once.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._records: dict[Unit, Record] = {}

    def begin(self, of: Unit, shape: tuple[int, ...]) -> tuple[Selection, Record]:
        """Return the selection from a unit's arrays of a shape (T, N, ...), and a new record for it."""
        selection = self._request.selection(of, shape)
        record = self._records[of] = Record(of, selection)
        return selection, record

    def __getitem__(self, layer: Any) -> Record:
        """Return the record of a layer.

        Raises:
            IndexError: the position is out of range.
            ValueError: the layer is not in the network, is not recorded, or has not run yet.
        """
        found = find_unit("record", self._request.net, layer)
        if found not in self._request.units:
            asked = ", ".join(str(u.last) for u in self._request.units)
            raise ValueError(f"record: layer {found.last} was not asked for, only {asked}")
        if found not in self._records:
            raise ValueError("record: the network has not been called yet")
        return self._records[found]

    def __iter__(self) -> Iterator[Record]:
        return iter([self._records[u] for u in self._request.units if u in self._records])

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        rows = "".join(f"\n  {record!r}" for record in self)
        return f"Recording({rows}\n)"
