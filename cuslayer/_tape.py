"""Tensors and automatic differentiation in reverse mode. Read this first.

An operation is a plain function of arrays that returns its result and a *pullback*. This closure takes the gradient of
the result and returns the gradient of each array. `differentiable` turns an operation into a function of tensors. If an
input requires a gradient, the result has a graph node: the pullback, and the node or leaf tensor that receives the
gradient of each input. Nodes refer only to their inputs, so that dropping the result frees the graph at once.
`backward` visits nodes in the reverse order of their creation, without recursion.

A pullback may read the arrays of its operation, so these must not change in place before `backward`. A tensor counts
the changes of its array that the library can detect, and a node stores the counts for comparison.

Potentials of neurons need most of the memory for backward. `save_for_backward` saves them, unchanged or as float16, and
passes them to observers.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache, wraps
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar
from weakref import ref

import numpy as np
import numpy.typing as npt

from cuslayer._base import check, instead
from cuslayer._base.array_like import ArrayLike, TensorLike
from cuslayer.backend import Array, DType, Setting, namespace, numeric, numeric_type, to_device, to_numpy
from cuslayer.kernels.host.elementwise import computed
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.spikes.packed import PackedSpikes

# The gradient of one array: an array, None if there is none, or a function that computes it on demand.
Gradient: TypeAlias = "Array | PartGradient | Callable[[], Array | DeferredGradient] | None"
# Takes the gradient of an operation's result; returns the gradient of its only array, or a tuple or list, one for each.
Pullback: TypeAlias = "Callable[[Array], Gradient | Sequence[Gradient]]"
# Takes arrays by position and options by keyword. A pullback of None: no gradient passes.
Operation: TypeAlias = "Callable[..., tuple[Array, Pullback | None]]"
F = TypeVar("F", bound=Callable[..., Any])

_serial = itertools.count()
_grad_enabled = Setting(True)
_on_gradient: Setting[Callable[[Tensor], None] | None] = Setting(None)
# The format of potentials that are saved for backward, and the observers of potentials.
POTENTIAL_FORMATS = ("full", "float16")
_potential_format = Setting(POTENTIAL_FORMATS[0])
_potential_observers: Setting[tuple[Callable[[Potentials], None], ...]] = Setting(())


class Deferred(Protocol):
    """A gradient that is computed on use, such as `kernels.constants.Product`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""

    def materialize(self) -> Array:
        """Return the array."""


@dataclass(frozen=True, eq=False)
class DeferredGradient:
    """A deferred gradient in the shape of its tensor, for the pullback of an operation that accepts it."""

    value: Deferred
    shape: tuple[int, ...]

    def materialize(self) -> Array:
        """Return the gradient as an array."""
        return self.value.materialize().reshape(self.shape)


@dataclass(frozen=True, eq=False)
class PartGradient:
    """A gradient that is 0 outside x[index], for an index with which no element occurs twice.

    The parts of an array, such as its steps in a loop, are added to one array.
    """

    part: Array
    index: Any
    shape: tuple[int, ...]

    def materialize(self) -> Array:
        """Return the gradient as an array."""
        whole = zeros_beside(self.part, self.shape)
        whole[self.index] = self.part
        return whole


@dataclass(frozen=True, eq=False)
class Number:
    """A number among an operation's arrays. It has no gradient, and kernels take it as a scalar argument."""

    value: Any  # the number as a NumPy scalar, which has a type, a shape of () and no device


class Node:
    """A graph node: an operation's pullback and its inputs.

    Each of `inputs` is the node that made the input, a leaf tensor, or None if it requires no gradient. The pullback
    takes a `DeferredGradient` if `takes_deferred`, else only arrays. For each array that the pullback may read, `saved`
    has its counter of changes and the count at forward.
    """

    __slots__ = ("inputs", "operation", "pullback", "saved", "serial", "shape", "takes_deferred")

    def __init__(
        self, operation: Operation, pullback: Pullback, inputs: tuple[Any, ...], shape: tuple[int, ...]
    ) -> None:
        self.serial = next(_serial)
        self.operation, self.inputs, self.shape = operation, inputs, shape
        self.pullback: Pullback | None = pullback
        self.takes_deferred = getattr(operation, "takes_deferred", False)
        self.saved: list[tuple[list[int], int]] = []

    def input_gradients(self, grad: list[Any]) -> list[tuple[Any, Any]]:
        """Return each input that requires a gradient with its gradient; free the arrays that forward saved.

        `grad` is a list with one item, the result's gradient. It is emptied, so that the pullback can free the array.
        """
        if self.pullback is None:
            raise ValueError("backward has already run on this graph and freed its memory; run forward again")
        if any(changes[0] != number for changes, number in self.saved):
            raise ValueError(
                f"{_name_of(self.operation)} needs an array that was changed in place since forward, as "
                f"optimizer.step() or w.data *= 2 does; call backward before that, or run forward again"
            )
        found = self.pullback(grad.pop())
        gradients = found if isinstance(found, (tuple, list)) else (found,)
        if len(gradients) != len(self.inputs):
            rule = f"must return {len(self.inputs)} gradients, one for each array in order, None for none"
            raise ValueError(f"the pullback of {_name_of(self.operation)} {rule}, got {len(gradients)}")
        required = [(x, g) for x, g in zip(self.inputs, gradients, strict=True) if x is not None and g is not None]
        self.pullback, self.inputs, self.saved = None, (), []
        return [(x, g() if callable(g) else g) for x, g in required]


@instead.attributes("tensor")
@check.named
class Tensor(ArrayLike["Tensor"]):
    """An array and its gradient, with the operators and methods of NumPy's arrays.

    Args:
        data: numbers or booleans (spikes) of any shape. float32, float64 and boolean arrays keep their type, everything
            else becomes float32. The array moves to the device in use.
        requires_grad: whether `backward` writes a gradient to `grad`.
        lengths: for a padded batch (T, N, ...), the number of steps of each recording, (N,), from 1 to T.

    Attributes:
        data: the array, NumPy's or CuPy's; see `data` for allowed changes.
        lengths: for a padded batch, int64 (N,); None if all recordings have T steps. A network passes them on to its
            output; losses, scores and decisions ignore steps after the end of a recording. Other functions do not pass
            them on: set ``y.lengths = x.lengths`` afterwards.
        grad: after `backward`, the gradient of a leaf, of data's shape; None before.

    Raises:
        TypeError: data does not contain real numbers, or lengths are not integers.
        ValueError: lengths does not have one number for each recording, or one is not from 1 to T.

    >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad.tolist()
    [2.0, 4.0, 6.0]
    """

    __slots__ = (
        "__weakref__",
        "_lengths",
        "changes",
        "dt",
        "grad",
        "node",
        "requires_grad",
        "step",
        "stored",
        "unpacked",
    )

    def __init__(self, data: Any, requires_grad: bool = False, lengths: Any = None) -> None:
        if isinstance(data, Tensor):
            raise TypeError("data is a Tensor already")
        self.stored: Array | PackedSpikes = data if isinstance(data, PackedSpikes) else _as_data(data)
        # The booleans of unpacked spikes; None if they are not kept. See `keep_unpacked`.
        self.unpacked: list[Array] | None = None
        # The number of changes of the array in place, in a list that all tensors of the same memory share.
        self.changes = [0]
        self.grad: Array | None = None
        self.node: Node | None = None
        # The step (1, N, ...) that the tensor repeats; see `_still.repeat_step`.
        self.step: Tensor | None = None
        self.requires_grad = requires_grad
        # The step, ms, of a network's output, if its neurons determine it.
        self.dt: float | None = None
        self.lengths = lengths

    @property
    def lengths(self) -> npt.NDArray[np.int64] | None:
        """The number of steps of each recording in a padded batch."""
        return self._lengths

    @lengths.setter
    def lengths(self, given: Any) -> None:
        self._lengths = None if given is None else check.lengths(to_numpy(given), self.shape)

    @property
    def data(self) -> Array:
        """The array, NumPy's or CuPy's. On a GPU, each access unpacks packed spikes.

        Backward needs the arrays of forward. The library detects optimizer steps and ``w.data *= 2``, and `backward`
        raises an error if it needs the old array. It cannot detect ``w.data[...] = 0`` or writing to an array that
        ``Tensor(array)`` shares: gradients of an earlier pass are then wrong. A new array, ``w.data = 2 * w.data``, is
        not a change in place: an earlier pass keeps the old one.
        """
        stored = self.stored
        if not isinstance(stored, PackedSpikes):
            return stored
        if self.unpacked is None:
            return stored.unpack()
        if not self.unpacked:
            self.unpacked.append(stored.unpack())
        return self.unpacked[0]

    @data.setter
    def data(self, array: Array) -> None:
        if array is self.stored:  # w.data *= 2
            note_change(self)
        self.stored = to_numpy(array) if isinstance(array, np.ma.MaskedArray) else array
        self.unpacked = None
        self.step = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of data."""
        return tuple(self.stored.shape)

    @property
    def ndim(self) -> int:
        """The number of axes of data."""
        return self.stored.ndim

    @property
    def size(self) -> int:
        """The number of elements of data."""
        return int(self.stored.size)

    @property
    def dtype(self) -> DType:
        """The type of data: float32, float64 or bool."""
        return self.stored.dtype

    def detach(self) -> Tensor:
        """Return a tensor with the same data outside the graph: no gradient flows through it."""
        found = _tensor(self.stored)
        found.changes, found._lengths = self.changes, self._lengths
        return found

    def backward(self, grad: Any = None) -> None:
        """Compute the gradient of every leaf that requires one and add it to the leaf's `grad`.

        It frees the arrays that forward saved, so that it can run only once on a graph.

        Args:
            grad: the gradient of this tensor, of its shape; by default 1 for a scalar.

        Raises:
            ValueError: no gradient is required, grad is missing or has another shape, backward ran before, or an array
                that an operation needs was changed in place since forward.
        """
        _backpropagate(self, grad)

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}{', requires_grad=True' if self.requires_grad else ''})"

    def _needs_gradient(self) -> bool:
        return self.requires_grad and grad_enabled()


def apply(operation: Operation, *arrays: Any, **options: Any) -> Tensor:
    """Return the result of an operation on tensors and arrays, with a graph node if one requires a gradient."""
    packed = getattr(operation, "takes_packed", False)
    tensors = [None if isinstance(x, Number) else as_tensor(x) for x in arrays]
    given = [x.value if t is None else t.stored if packed else t.data for x, t in zip(arrays, tensors, strict=True)]
    results = operation(*given, **options)
    if type(results) is not tuple or len(results) != 2 or not (results[1] is None or callable(results[1])):
        got = "a tuple" if type(results) is tuple else type(results).__name__
        cure = "return y, lambda g: ... with the gradient of each array, or return y, None for no gradient"
        raise TypeError(f"{_name_of(operation)} must return its result and a pullback, got {got}; {cure}")
    data, pullback = results
    node = None
    if pullback is not None and grad_enabled() and any(t is not None and t.requires_grad for t in tensors):
        inputs = (None if t is None or not t.requires_grad else t if t.node is None else t.node for t in tensors)
        node = Node(operation, pullback, tuple(inputs), data.shape)
    result = _tensor(data, node)
    base = getattr(data, "base", None)
    for t, x in zip(tensors, given, strict=True):
        if t is not None and (x is data or (base is not None and (x is base or getattr(x, "base", None) is base))):
            result.changes = t.changes  # a view
    if node is not None:
        node.saved = [(t.changes, t.changes[0]) for t in _saved(operation, tensors, result)]
    return result


def _name_of(operation: Operation) -> str:
    """Return the name of an operation in messages."""
    return str(getattr(operation, "__name__", "an operation")).strip("_")


def _saved(operation: Operation, tensors: Sequence[Tensor | None], result: Tensor) -> list[Tensor]:
    """Return the tensors whose arrays the pullback of an operation may read; see `saves`."""
    what, given = getattr(operation, "saves", None), [t for t in tensors if t is not None]
    if what is None:
        return [*given, result]
    if what == "others":
        # The gradient of one array needs the others.
        required = [t for t in given if t.requires_grad]
        return given if len(required) > 1 else [t for t in given if t is not required[0]]
    return [result] if what == "result" else []


def note_change(tensor: Tensor) -> None:
    """Count a change in place of a tensor's array, so that a `backward` that needs the old array raises an error.

    Code that writes to a parameter's array calls this before writing.
    """
    tensor.changes[0] += 1


def _ones(x: Array) -> Array:
    """Return the gradient 1 for x, which has one element; a GPU has one array for each shape and type."""
    xp, dtype = namespace(x), numeric_type(x.dtype)
    return xp.ones(x.shape, dtype) if xp is np else _ones_on_device(xp, x.data.device_id, x.shape, dtype)  # type: ignore[attr-defined]


@cache
def _ones_on_device(xp: Any, device: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    ones: Array = xp.ones(shape, dtype)
    return ones


def _as_data(data: Any) -> Array:
    """Return an array of float32, float64 or booleans on the device in use."""
    given = getattr(data, "dtype", None)
    array = to_numpy(data) if namespace(data) is np else data
    if array.dtype.kind not in "biuf":
        raise TypeError(f"data must be real numbers or booleans, got {array.dtype}")
    keeps_type = given in (np.float32, np.float64) or array.dtype == bool
    return to_device(array if keeps_type else check.as_type("data", array, np.float32))


def _tensor(data: Array | PackedSpikes, node: Node | None = None) -> Tensor:
    """Return a tensor of an array that needs no conversion: the type, the layout and the device are right."""
    tensor = Tensor.__new__(Tensor)
    if isinstance(data, np.generic):
        data = np.asarray(data)
    tensor.stored, tensor.grad, tensor.node, tensor.requires_grad = data, None, node, node is not None
    tensor.unpacked = None
    tensor.changes = [0]
    tensor._lengths = None
    tensor.step = None
    tensor.dt = None
    return tensor


def as_array(g: Any) -> Array:
    """Return a gradient as an array, computed if it was deferred."""
    return g.materialize() if isinstance(g, (DeferredGradient, PartGradient)) else g


def zeros_beside(x: Array, shape: tuple[int, ...]) -> Array:
    """Return zeros of a shape in the type of x, on its device."""
    if namespace(x) is not np:
        zeros: Array = namespace(x).zeros(shape, x.dtype)
        return zeros
    zeros = empty(shape, x.dtype)
    zeros[...] = 0
    return zeros


def sum_of(a: Array, b: Array) -> Array:
    """Return a + b; spikes count as 1.0."""
    if namespace(a) is np:
        return computed(np.add, a, b)
    total: Array = numeric(a) + numeric(b)
    return total


def to_shape(grad: Array, shape: tuple[int, ...]) -> Array:
    """Sum grad over the axes that broadcasting added or stretched, to the given shape."""
    if grad.shape == shape:
        return grad
    if grad.ndim > len(shape):  # in float32 millions of addends would be rounded coarsely
        wide = np.float64 if namespace(grad) is np and grad.dtype == np.float32 else None
        grad = grad.sum(axis=tuple(range(grad.ndim - len(shape))), dtype=wide).astype(grad.dtype)
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and grad.shape[i] != 1)
    return grad.sum(axis=stretched, keepdims=True) if stretched else grad


def as_tensor(x: TensorLike) -> Tensor:
    """Return x if it is a tensor, else a tensor of it."""
    return x if isinstance(x, Tensor) else Tensor(x)


def gradients(y: Tensor, leaves: Sequence[Tensor] = (), grad: Any = None) -> list[Array | None]:
    """Return the gradients that ``y.backward(grad)`` would add to `grad` of some leaves, without changing any `grad`.

    >>> x, w = Tensor([1.0], requires_grad=True), Tensor([3.0], requires_grad=True)
    >>> gradients(x * w, [x]), x.grad, w.grad
    ([array([3.], dtype=float32)], None, None)
    """
    found: dict[int, Array] = {}
    _backpropagate(y, grad, found)
    return [found.get(id(leaf)) for leaf in leaves]


@check.operation("backward")
def _backpropagate(y: Tensor, grad: Any, into: dict[int, Array] | None = None) -> None:
    """Accumulate the gradients of the leaves of y in their `grad`, or in `into`, by the identity of the leaf."""
    if not y.requires_grad:
        raise ValueError("no gradient is wanted: nothing that made this tensor has requires_grad")
    if grad is None and y.size != 1:
        raise ValueError(f"grad is needed for a tensor of shape {y.shape}")
    start, grad = y if y.node is None else y.node, _ones(y.data) if grad is None else to_device(grad)
    pending: dict[int, _Pending] = {}
    queue: list[int] = []

    def accumulate(target: Node | Tensor, g: Array | DeferredGradient | PartGradient, shared: bool) -> None:
        check.same_shape("a gradient", g, "its tensor", target)
        if isinstance(target, Tensor):
            g = as_array(g)
            # Shared arrays are copied, so that editing one gradient in place does not change another.
            dtype = g.dtype if target.dtype == bool else target.dtype
            g = g.astype(dtype, copy=g.base is not None or shared)
            known = target.grad if into is None else into.get(id(target))
            g = g if known is None else known + g
            if into is None:
                target.grad = g
            else:
                into[id(target)] = g
        elif target.serial in pending:
            pending[target.serial].add(g)
        else:
            pending[target.serial] = _Pending(target, g)
            heapq.heappush(queue, -target.serial)

    final = _on_gradient.get() if into is None else None
    uses = {} if final is None else _uses_of_leaves(start)
    accumulate(start, grad, True)
    while queue:
        arrived = pending.pop(-heapq.heappop(queue))
        node = arrived.node
        gradient = arrived.gradient
        del arrived
        leaves = [x for x in node.inputs if isinstance(x, Tensor)] if uses else []
        source, found = _weak(gradient[0]), node.input_gradients(gradient)
        while found:
            target, g = found.pop(0)
            accumulate(target, g, g is source() or any(g is other for _, other in found))
        for leaf in leaves:
            uses[id(leaf)] -= 1
            if final is not None and not uses[id(leaf)] and leaf.grad is not None:
                final(leaf)


class _Pending:
    """The sum of the gradients of a node's result that have arrived, in a list that the node empties."""

    __slots__ = ("gradient", "node", "own")

    def __init__(self, node: Node, g: Array | DeferredGradient | PartGradient) -> None:
        self.node = node
        # Whether nothing else refers to the array, so that it may change.
        self.own = isinstance(g, PartGradient)
        self.gradient = [g if node.takes_deferred and isinstance(g, DeferredGradient) else as_array(g)]

    def add(self, g: Array | DeferredGradient | PartGradient) -> None:
        """Add a gradient."""
        total = as_array(self.gradient[0])
        if isinstance(g, PartGradient):
            total = total.astype(np.promote_types(total.dtype, g.part.dtype), copy=not self.own)
            total[g.index] += g.part
        else:
            total = sum_of(total, as_array(g))
        self.own = True
        self.gradient[0] = total


def _uses_of_leaves(start: Node | Tensor) -> dict[int, int]:
    """Return how often the graph of `start` takes each leaf as an input, by the leaf's identity."""
    uses: dict[int, int] = {}
    seen, rest = set[int](), [start]
    while rest:
        node = rest.pop()
        if isinstance(node, Tensor) or node.serial in seen:
            continue
        seen.add(node.serial)
        for x in node.inputs:
            if isinstance(x, Tensor):
                uses[id(x)] = uses.get(id(x), 0) + 1
            elif x is not None:
                rest.append(x)
    return uses


def on_gradient(call: Callable[[Tensor], None]) -> AbstractContextManager[None]:
    """Call a function with each leaf when a `backward` within this block, in its thread, has completed its gradient.

    The call comes before backward computes the gradients of earlier layers, so that a gradient can be sent meanwhile. A
    leaf that the result does not depend on, or without a gradient on some path, may not be reported.

    >>> x, order = Tensor([2.0], requires_grad=True), []
    >>> y = Tensor([3.0], requires_grad=True)
    >>> with on_gradient(lambda leaf: order.append(float(leaf.grad[0]))):
    ...     (x * x * y).backward()
    >>> order  # of y, then of x, which two products have
    [4.0, 12.0]
    """
    return _on_gradient.set(call)


def _weak(x: Array | DeferredGradient) -> Callable[[], Any]:
    """Return a function that returns x as long as others refer to it; always if x may be a NumPy scalar."""
    return ref(x) if x.shape else lambda: x


@contextmanager
def no_grad(active: bool = True) -> Iterator[None]:
    """Build no graph within this block, only in its thread; also a decorator. With active=False, build one.

    >>> x = Tensor([1.0], requires_grad=True)
    >>> with no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """
    with _grad_enabled.set(not active):
        yield


def grad_enabled() -> bool:
    """Return whether operations build a graph: False within `no_grad`."""
    return _grad_enabled.get()


def keep_unpacked(x: Tensor, keep: bool = True) -> None:
    """Keep the booleans of packed spikes after the first access, for several uses; or no longer."""
    if not keep:
        x.unpacked = None
    elif x.unpacked is None and isinstance(x.stored, PackedSpikes):
        x.unpacked = []


class Potentials(NamedTuple):
    """The potentials of one layer's neurons, in the memory layout of the forward pass."""

    values: Array  # (T, N, ...), or the same elements in another shape, or the blocks of a fused pass
    # The kernel's function that selects potentials from blocks; None without blocks.
    from_blocks: Callable[..., Array] | None = None


class Once:
    """A value that is returned once and then released, so that its memory can be reused."""

    def __init__(self, value: Array) -> None:
        self._value: Array | None = value

    @check.operation("save_for_backward")
    def __call__(self) -> Array:
        value, self._value = self._value, None
        if value is None:
            raise ValueError(
                "the potential was returned before, and its memory may have other numbers now; call "
                "the function once, and keep what it returns"
            )
        return value


def potential_format(name: str) -> AbstractContextManager[None]:
    """Save potentials for backward in one of `POTENTIAL_FORMATS`, within the block and this thread."""
    return _potential_format.set(name)


def saves_float16() -> bool:
    """Return whether potentials are saved for backward as float16, in this thread."""
    return _potential_format.get() == "float16"


def on_potential(callback: Callable[[Potentials], None]) -> AbstractContextManager[None]:
    """Call `callback` with the potentials of each layer of neurons that runs within the block and this thread.

    The callback must copy potentials that it keeps: backward may overwrite them.
    """
    return _potential_observers.set((*_potential_observers.get(), callback))


def potentials_are_observed() -> bool:
    """Return whether this thread has observers of potentials."""
    return bool(_potential_observers.get())


def wanted_dtype(dtype: npt.DTypeLike) -> Any:
    """Return the dtype in which a fused pass saves potentials that it computes in `dtype`; None without gradients."""
    if not grad_enabled():
        return None
    full = _potential_format.get() == POTENTIAL_FORMATS[0] or _potential_observers.get() or dtype != np.float32
    return dtype if full else np.dtype(np.float16)


def recomputable() -> bool:
    """Return whether backward may recompute potentials: the format is "full", and nobody observes them."""
    return grad_enabled() and _potential_format.get() == POTENTIAL_FORMATS[0] and not _potential_observers.get()


def save_for_backward(
    k: Any, u: Array, *, unit: float = 1.0, from_blocks: Callable[..., Array] | None = None
) -> Callable[[], Array]:
    """Save the potential u for backward, and return a function that returns it once; a second call is a ValueError.

    In float16, in units of `unit`, the error of u is at most |u| / 2048, and 3e-8 below 6e-5; values beyond 65,504 are
    clipped. The relative error of the surrogate is then |u| / (2048 tau_rho theta): 5e-4 for a potential at theta and a
    tau_rho of 1. Spikes do not change. A potential that the pass itself saved in float16 (`wanted_dtype`) stays
    float16.
    """
    for callback in _potential_observers.get():
        callback(Potentials(u, from_blocks))
    if _potential_format.get() == POTENTIAL_FORMATS[0] or u.dtype == np.float16:
        return Once(u)
    dtype, half = u.dtype, Once(k.float16.store(u if unit == 1.0 else u / u.dtype.type(unit)))
    if unit == 1.0:
        return lambda: k.float16.load(half(), dtype)
    return lambda: k.float16.load(half(), dtype) * dtype.type(unit)


def saves(what: str | None) -> Callable[[F], F]:
    """Mark which arrays the pullback of an operation reads: by default all of its arrays, and its result."""

    def mark(operation: F) -> F:
        operation.saves = what  # type: ignore[attr-defined]
        return operation

    return mark


def takes_deferred(operation: Operation) -> Operation:
    """Mark an operation whose pullback takes a `DeferredGradient` in place of an array."""
    operation.takes_deferred = True  # type: ignore[attr-defined]
    return operation


def takes_packed(operation: Operation) -> Operation:
    """Mark an operation that takes `PackedSpikes` in place of a boolean array, and may return them."""
    operation.takes_packed = True  # type: ignore[attr-defined]
    return operation


def differentiable(operation: Operation) -> Callable[..., Tensor]:
    """Turn an operation on arrays into a differentiable operation on tensors.

    The operation takes arrays by position and options by keyword, and returns its result and a pullback. The pullback
    takes the gradient of the result and returns one entry for each array, in order. An entry is the gradient, None, or
    a function that computes it, called only if the array requires a gradient. If the pullback is None, no gradient
    passes.

    >>> @differentiable
    ... def double(x, /):
    ...     return 2 * x, lambda grad: 2 * grad
    >>> x = Tensor([3.0], requires_grad=True)
    >>> double(x).backward(); x.grad.tolist()
    [2.0]
    """

    @wraps(operation)
    def on_tensors(*arrays: Any, **options: Any) -> Tensor:
        return apply(operation, *arrays, **options)

    return on_tensors
