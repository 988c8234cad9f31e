"""`record`: the arrays of a network's layers while it runs, by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
from numpy.lib.mixins import NDArrayOperatorsMixin

from cuslayer import kernels
from cuslayer._base import check
from cuslayer._base.extras import optional
from cuslayer._base.time_window import TimeWindow
from cuslayer._tape import Tensor, no_grad, saves_float16
from cuslayer.backend import Array, namespace, to_numpy
from cuslayer.inspection.structure import dt_at, find_unit, is_path, note_rates
from cuslayer.kernels.step.filters import Sampled
from cuslayer.network.graph import Address, Run, Step, observe
from cuslayer.network.join import on_gradient
from cuslayer.network.network import Where
from cuslayer.network.walk import Unit, Visit, check_network, units
from cuslayer.neurons.base import Neuron, SrmForm, is_stateful

if TYPE_CHECKING:
    from cuslayer.network.network import Container

_AXES = {1: ("neuron",), 3: ("row", "column", "channel")}
_SEVERAL = (list, tuple, range)


@check.operation
def record(
    net: Container,
    layers: object = None,
    neurons: object = None,
    samples: int | Sequence[int] | None = None,
    window: tuple[float, float] | None = None,
) -> AbstractContextManager[Recording]:
    """Open a context that records the arrays of a network's layers while it runs: ``recording[layer].potential``.

    Each `Record` of SRM neurons has the weighted input, the filtered input, the refractory part, the membrane
    potential, the spikes and the surrogate. After backward, within the block or later, it also has the errors on the
    spikes, the potential and the weighted input. Other neurons have some of these, and `Loihi` its current (`Record`).
    Only selected arrays are stored; the network's spikes and gradients do not change by a bit. A later call replaces
    the record of an earlier one. The context applies to the thread that opens it.

    Args:
        net: a `Network` or `Sequential`.
        layers: addresses or layers, one or a list; all by default. The address of a layer of the network is its
            position; in a nested network or a branch, the tuple of positions, such as (2, 0, 1).
        neurons: the neurons of each layer, one or a list: flat indices, or tuples such as (row, column, channel). A
            mapping from layers to these also selects the layers. All by default.
        samples: indices of samples in the batch, one or a list; all by default.
        window: start and stop in ms; all steps by default.

    Returns:
        A context that yields a `Recording`.

    Raises:
        TypeError: net is not a network.
        ValueError: a layer is not in the network, or window is not a pair; when the network runs, also if the window
            is out of range.
        IndexError: the position of a layer is out of range; when the network runs, also a neuron or a sample.

    >>> import numpy as np
    >>> from cuslayer.network import Network
    >>> from cuslayer.neurons import SRM
    >>> net = Network("4-3-2", SRM())
    >>> with record(net, layers=1, neurons=[0, 2]) as seen:
    ...     out = net(np.ones((20, 1, 4), bool))
    >>> seen[1].potential
    Labelled(potential: time 20, sample 1, neuron 2; float32)
    """
    check_network(net)
    return _recording(net, _Request(net, layers, neurons, samples, window))


@contextmanager
def _recording(net: Container, request: _Request) -> Iterator[Recording]:
    recording = Recording(request)
    with observe(net, _Recorder(request, recording)):
        yield recording


class _Recorder:
    """Observer that runs a network stage by stage where it records one, and records selected arrays."""

    def __init__(self, request: _Request, recording: Recording) -> None:
        self.net, self.recording = request.net, recording
        self.rates: dict[Address, float] = {}
        self.recorded = {node.number: (node, u) for u in request.units for node in u if node is not None}

    def __call__(self, run: Run, step: Step, *inputs: Tensor) -> Tensor:
        if self.recorded.keys().isdisjoint(range(step.start, step.last + 1)):
            return run(step, *inputs)
        lengths = inputs[0].lengths
        for part in step.parts():
            node, unit = self.recorded.get(part.start, (None, None))
            if node is None or unit is None or node is not unit.last:
                inputs = (run(part, *inputs),)
            else:
                at = Visit(node, inputs, unit, partial(run, part))
                inputs = (self._output(at) if at.neurons is None else self._neurons(at, at.neurons),)
            inputs[0].lengths = lengths
        return inputs[0]

    @check.operation("record")
    def _output(self, at: Visit) -> Tensor:
        """Record the output of a layer without neurons."""
        check.time_first(f"the output of layer {at.node}", at.output)
        selection, record = self.recording.begin(at.unit, at.output.shape)
        record.store(output=selection.pick_copy(at.output.data))
        return on_gradient(at.output, callback=lambda g: record.store(output_error=selection.pick_copy(g)))

    def _neurons(self, at: Visit, neurons: Neuron) -> Tensor:
        """Record the input, the spikes, the errors of neurons, and the potential if they save it."""
        (x,) = at.inputs
        selection, record = self.recording.begin(at.unit, x.shape)
        weighted = selection.pick_copy(x.data)
        record.store(weighted=weighted)
        srm = neurons.srm_form
        if srm is None:
            at.inputs = (on_gradient(x, callback=lambda g: record.store(weighted_error=selection.pick_copy(g))),)
        spikes = selection.pick_copy(at.output.data)
        potential = None if at.potentials is None else selection.pick_copy(at.potentials)
        record.store(spikes=spikes)
        if potential is not None:
            record.store(potential=potential)
            if not selection.all_steps and "refractory" in record.names:
                record.store(refractory=_refractory(neurons, spikes, potential.dtype))
        if neurons.recurrence is not None and "recurrent" in record.names:
            with no_grad():
                record.store(recurrent=selection.pick_copy(neurons.recurrence(at.output.detach()).data))
        if "current" in record.names:
            if getattr(neurons, "trained", False):  # its constants may change before the first access
                record.store(current=cast(Array, neurons.current(weighted)))
            else:
                record.register(current=lambda: cast(Array, neurons.current(weighted)))
        # The notebook's table of the network has the rates of whole layers.
        if record.indices is None and spikes.size and x.lengths is None:
            now = record.spikes.values
            self.rates[at.address] = 1000.0 * (np.count_nonzero(now) / now.size) / neurons.dt
            note_rates(self.net, self.rates)

        def store_errors(g: Array) -> None:
            picked = selection.pick_copy(g)
            if srm is None or potential is None:
                record.store(spikes_error=picked)
                return
            picked = picked.astype(potential.dtype, copy=False)
            record.store(spikes_error=picked)
            if not selection.all_steps:
                g_u = _potential_error(srm, picked, potential, record.float16)
                record.store(potential_error=g_u, weighted_error=_weighted_error(srm, g_u))

        return on_gradient(at.output, callback=store_errors)


def _refractory(neurons: Neuron, spikes: Array, dtype: npt.DTypeLike) -> Array:
    """Return the refractory part of the potential, ``sum_{k>=1} nu[k] s[t-k]``, for spikes (T, ...)."""
    srm = neurons.srm_form
    response = Sampled(neurons.refractory, neurons.dt) if srm is None else srm.refractory
    return response.apply(kernels.of(spikes), spikes.astype(dtype))


def _potential_error(srm: SrmForm, g: Array, u: Array, float16: bool) -> Array:
    """Return the error on potentials for the error on spikes; backward reads potentials as they were saved."""
    k = kernels.of(u)
    saved = k.float16.load(k.float16.store(u), u.dtype) if float16 else u
    none = np.empty((0, 1), u.dtype)  # no constants of each neuron
    return srm.refracting.fire_adjoint(k, g.astype(u.dtype, copy=False), saved, none, overwrite=False)


def _weighted_error(srm: SrmForm, g: Array) -> Array:
    return srm.response.adjoint(kernels.of(g), g)


def _array(name: str) -> Any:
    """Return a property of `Record`: the array of a name."""
    return property(lambda record: record._labelled(name))


class Record:
    """The arrays of one layer and the neurons after it, on the CPU: (time, sample, ...).

    With selected neurons, arrays are (time, sample, neuron), in the order of the selection. The errors exist after
    backward. Neurons that are not plain SRM have a filtered input and a refractory part if their `parts` is "exact", a
    surrogate and a current if they define one. A layer without neurons has only an output and its error. Each array is
    a `Labelled`.

    Attributes:
        weighted: the weighted input x of the neurons.
        recurrent: the weighted input that `Recurrent` neurons get from their own spikes, which is not in `weighted`.
        filtered: the filtered input a, the membrane potential before refraction.
        refractory: the refractory part of the potential, ``u - a``, from the neuron's earlier spikes.
        potential: the membrane potential u after refraction, the input of the threshold and the surrogate.
        spikes: the spikes, boolean.
        surrogate: the surrogate's value rho(u), per ms. The gradient of the potential is ``dt rho(u)`` times the
            spikes'.
        spikes_error: the error on the spikes, the loss's gradient with respect to them.
        potential_error: the error on the potential, the gradient of the loss with respect to u.
        weighted_error: the error on the weighted input, the error on the potential reassigned in time.
        current: the synaptic current of neurons that have one, of `Loihi` in its integers.
        output: the output of a layer without neurons.
        output_error: the gradient of the loss with respect to that output.
        names: the names of the arrays that the layer can have.
    """

    weighted: Labelled = _array("weighted")
    recurrent: Labelled = _array("recurrent")
    filtered: Labelled = _array("filtered")
    refractory: Labelled = _array("refractory")
    potential: Labelled = _array("potential")
    spikes: Labelled = _array("spikes")
    surrogate: Labelled = _array("surrogate")
    spikes_error: Labelled = _array("spikes_error")
    potential_error: Labelled = _array("potential_error")
    weighted_error: Labelled = _array("weighted_error")
    current: Labelled = _array("current")
    output: Labelled = _array("output")
    output_error: Labelled = _array("output_error")

    def __init__(self, of: Unit, selection: Selection) -> None:
        self._unit, self._selection, self.float16 = of, selection, saves_float16()
        self._neurons = neurons = of.model
        self.names: tuple[str, ...] = ("output", "output_error")
        if neurons is not None:
            none, exact = np.zeros((0, 1), np.float32), neurons.parts == "exact"
            alone = not is_stateful(neurons)  # the input of others depends on earlier calls, too
            there = {
                "weighted": True,
                "potential": True,
                "spikes": True,
                "recurrent": neurons.recurrence is not None and alone,
                "current": neurons.current(none) is not None and alone,
                "filtered": exact,
                "refractory": exact,
                "surrogate": neurons.surrogate(none) is not None,
                "spikes_error": True,
                "weighted_error": True,
                "potential_error": neurons.srm_form is not None,
            }
            self.names = tuple(name for name, has in there.items() if has)
        self._arrays: dict[str, Array] = {}
        self._pending: dict[str, Callable[[], Array]] = {}

    @property
    def model(self) -> Neuron | None:
        """The kind of neuron, with its theta and dt; None for a layer without neurons."""
        return self._neurons

    @property
    def indices(self) -> Any:
        """The indices of the selected neurons, (k, axes); None if all are selected."""
        return self._selection.neurons

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # not set yet, in an object that copy or pickle is creating
            raise AttributeError(name)
        raise AttributeError(f"record: {name!r} is none of {', '.join(self.names)}{check.nearest(name, self.names)}")

    def store(self, **arrays: Array) -> None:
        """Store the selected steps of arrays with all steps."""
        for name, x in arrays.items():
            window = to_numpy(x[self._selection.steps])
            # A copy, which frees the steps outside the window.
            self._arrays[name] = window if len(window) == len(x) else window.copy()

    def register(self, **functions: Callable[[], Array]) -> None:
        """Register functions that compute arrays with all steps on first access."""
        self._pending |= functions

    def to_xarray(self) -> Any:
        """Return an `xarray.Dataset` of all available arrays.

        Raises:
            ImportError: xarray is not installed.
        """
        found = {name: self._labelled(name) for name in self.names if self._has(name)}
        return xarray().Dataset({name: x.to_xarray() for name, x in found.items()}, attrs={"layer": self._unit.name})

    def _has(self, name: str) -> bool:
        found = self._arrays
        if name in found or name in self._pending:
            return True
        if name not in self.names:
            return False
        if name in ("surrogate", "filtered", "refractory"):
            return "potential" in found
        return "potential_error" in self.names and name.endswith("_error") and "spikes_error" in found

    @check.operation("record")
    def _labelled(self, name: str) -> Labelled:
        if not self._has(name):
            if name in self.names and name.endswith("_error"):
                raise ValueError(f"{name} of {self._unit.name} is not there before backward")
            if name in self.names:
                raise ValueError(f"{self._unit.name} has no {name}: its neurons pass none to save_for_backward")
            raise ValueError(f"{self._unit.name} has no {name}, only {', '.join(self.names)}")
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
            return _refractory(neurons, self._array("spikes"), u.dtype)
        srm = cast(SrmForm, neurons.srm_form)
        if name == "potential_error":
            return _potential_error(srm, self._arrays["spikes_error"], u, self.float16)
        return _weighted_error(srm, self._array("potential_error"))

    def __repr__(self) -> str:
        there = ", ".join(name for name in self.names if self._has(name))
        shape = next(iter(self._arrays.values())).shape
        axes = zip(self._selection.labels().dims, shape, strict=True)
        return f"Record({self._unit.name}: {', '.join(f'{dim} {size}' for dim, size in axes)}; {there})"


class Recording:
    """The records of a network's last call, by layer.

    ``recording[layer]`` is the `Record` of a layer and the neurons after it, given by the address of either, or by the
    object itself if the network has it once.
    """

    def __init__(self, request: _Request) -> None:
        self._request = request
        self._records: dict[Unit, Record] = {}

    def begin(self, of: Unit, shape: tuple[int, ...]) -> tuple[Selection, Record]:
        """Return the selection from a unit's arrays of a shape (T, N, ...), and a new record for it."""
        selection = self._request.selection(of, shape)
        record = self._records[of] = Record(of, selection)
        return selection, record

    @check.operation("record")
    def __getitem__(self, layer: Where) -> Record:
        """Return the record of a layer.

        Raises:
            IndexError: the position is out of range.
            ValueError: the layer is not in the network, is not recorded, or has not run yet.
        """
        found = find_unit(self._request.net, layer)
        if found not in self._request.units:
            asked = ", ".join(str(u.last) for u in self._request.units)
            raise ValueError(f"layer {found.last} was not asked for, only {asked}")
        if found not in self._records:
            raise ValueError("the network has not been called yet")
        return self._records[found]

    def __iter__(self) -> Iterator[Record]:
        return iter([self._records[u] for u in self._request.units if u in self._records])

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        rows = "".join(f"\n  {record!r}" for record in self)
        return f"Recording({rows}\n)"


@dataclass(frozen=True)
class Selection:
    """Selected samples, neurons (k, axes) and steps of a layer's arrays (T, N, ...); None for all."""

    shape: tuple[int, ...]
    samples: Array | None
    neurons: Array | None
    steps: slice
    dt: float

    @cached_property
    def numbers(self) -> Any:
        """The flat index of each selected neuron in C order, (k,); None for all."""
        if self.neurons is None or len(self.shape) == 3:
            return None if self.neurons is None else self.neurons[:, 0]
        return np.ravel_multi_index(tuple(self.neurons.T), self.shape[2:])

    @property
    def all_steps(self) -> bool:
        """Whether all steps are selected."""
        return self.steps == slice(0, self.shape[0])

    def pick(self, x: Array) -> Array:
        """Return the selected columns of x at all steps, (T, samples, ...) or (T, samples, k).

        x is (T, N, ...), or an array of the same elements in another shape.
        """
        steps, samples, *shape = self.shape
        if self.neurons is None:
            whole = x.reshape(self.shape)
            return whole if self.samples is None else whole[:, namespace(x).asarray(self.samples)]
        size, numbers = math.prod(shape), self.numbers
        if self.samples is None and len(numbers) == 1:
            # A slice is faster than an index list of length 1.
            only = int(numbers[0])
            return x.reshape(steps, samples, size)[:, :, only : only + 1].copy()
        chosen = np.arange(samples) if self.samples is None else self.samples
        columns = (chosen[:, None] * size + numbers).ravel()
        picked = x.reshape(steps, samples * size).take(namespace(x).asarray(columns), axis=1)
        return picked.reshape(steps, len(chosen), len(numbers))

    def pick_copy(self, x: Array) -> Array:
        """Return the selected columns of x as an array that shares no memory with x."""
        picked = self.pick(x)
        return picked.copy() if self.neurons is None and self.samples is None else picked

    def labels(self) -> _Labels:
        """Return the axes of the selected arrays and their labels."""
        steps, samples, *shape = self.shape
        time = np.arange(*self.steps.indices(steps)) * self.dt
        chosen = np.arange(samples) if self.samples is None else self.samples
        coords = {"time": ("time", time), "sample": ("sample", chosen)}
        axes = _AXES.get(len(shape), tuple(f"axis_{i}" for i in range(len(shape))))
        if self.neurons is None:
            coords |= {axis: (axis, np.arange(size)) for axis, size in zip(axes, shape, strict=True)}
            return _Labels(("time", "sample", *axes), coords)
        coords["neuron"] = "neuron", self.numbers
        if len(shape) > 1:
            coords |= {axis: ("neuron", index) for axis, index in zip(axes, self.neurons.T, strict=True)}
        return _Labels(("time", "sample", "neuron"), coords)


class _Request:
    """The arguments of `record`, checked against a network."""

    def __init__(
        self, net: Container, layers: Any, neurons: Any, samples: int | Sequence[int] | None, window: object
    ) -> None:
        self.net = net
        by_layer = isinstance(neurons, Mapping)
        named = {find_unit(net, layer): chosen for layer, chosen in neurons.items()} if by_layer else {}
        if layers is None:
            self.units = list(named) if by_layer else units(net)
        else:
            several = layers if isinstance(layers, _SEVERAL) and not is_path(net, layers) else [layers]
            self.units = [find_unit(net, layer) for layer in several]
        unexpected = next((u for u in named if u not in self.units), None)
        if unexpected is not None:
            raise ValueError(f"neurons of layer {unexpected.last} are asked for, but not that layer")
        self.neurons = {u: named.get(u) if by_layer else neurons for u in self.units}
        self.samples = samples
        self.window = None if window is None else TimeWindow.of("window", window)
        self._selections: dict[tuple[Unit, tuple[int, ...]], Selection] = {}

    @check.operation("record")
    def selection(self, of: Unit, shape: tuple[int, ...]) -> Selection:
        """Return the selection from a unit's arrays of a shape (T, N, ...)."""
        if (of, shape) not in self._selections:
            dt = dt_at(self.net, of.last.number)
            samples, neurons = self._samples(shape[1]), self._neurons(of, shape[2:])
            steps = (0, shape[0]) if self.window is None else self.window.within(shape[0], dt)
            self._selections[of, shape] = Selection(shape, samples, neurons, slice(*steps), dt)
        return self._selections[of, shape]

    def _samples(self, count: int) -> Array | None:
        if self.samples is None:
            return None
        given = self.samples if isinstance(self.samples, _SEVERAL) else [self.samples]
        return np.array([check.index("sample", sample, count) for sample in given], np.int64)

    def _neurons(self, of: Unit, shape: tuple[int, ...]) -> Array | None:
        chosen = self.neurons[of]
        if chosen is None:
            return None
        several = chosen if isinstance(chosen, (list, range)) else [chosen]
        try:
            indices = [check.neuron_index(shape, neuron) for neuron in several]
        except IndexError as problem:
            choice = f"neurons={{{of.address}: ...}} chooses them for this layer alone"
            raise IndexError(f"{problem}, {of.name}; {choice}") from None
        return np.array(indices, np.int64).reshape(len(indices), len(shape))


class _Labels(NamedTuple):
    """The name of each axis of an array; and for each label name, its axis and the labels along it."""

    dims: tuple[str, ...]
    coords: Mapping[str, tuple[str, Array]]


class Labelled(NDArrayOperatorsMixin):
    """A NumPy array with a name for each axis and labels along it.

    It has the methods and operators of the array; their results are plain arrays.

    Attributes:
        values: the array.
        name: the name of the quantity.
        dims: the name of each axis.
        coords: labels by name, each along one axis; time in ms.
    """

    def __init__(self, name: str, values: Array, labels: _Labels) -> None:
        self.name, self.values, self._labels = name, values, labels

    @property
    def dims(self) -> tuple[str, ...]:
        """The name of each axis."""
        return self._labels.dims

    @property
    def coords(self) -> dict[str, Array]:
        """Labels by name: along the axis of that name, or along "neuron" for the position of selected neurons."""
        return {name: labels for name, (_, labels) in self._labels.coords.items()}

    def to_xarray(self) -> Any:
        """Return an `xarray.DataArray` with the same values and labels.

        Raises:
            ImportError: xarray is not installed.
        """
        return xarray().DataArray(self.values, dims=self.dims, coords=dict(self._labels.coords), name=self.name)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        return np.array(self.values, dtype=dtype, copy=True) if copy else np.asarray(self.values, dtype)

    def __array_ufunc__(self, ufunc: object, method: str, *inputs: object, **options: object) -> object:
        plain = (x.values if isinstance(x, Labelled) else x for x in inputs)
        return getattr(ufunc, method)(*plain, **options)

    def __getitem__(self, index: Any) -> Any:
        return self.values[index]

    def __len__(self) -> int:
        return len(self.values)

    def __getattr__(self, name: str) -> Any:
        if name == "values":  # not set yet, in an object that copy or pickle is creating
            raise AttributeError(name)
        return getattr(self.values, name)

    def __repr__(self) -> str:
        axes = ", ".join(f"{dim} {size}" for dim, size in zip(self.dims, self.values.shape, strict=True))
        return f"Labelled({self.name}: {axes}; {self.values.dtype})"


@check.operation("to_xarray")
def xarray() -> ModuleType:
    """Return the module xarray; raise ImportError if it is not installed."""
    return optional("xarray", "xarray")
