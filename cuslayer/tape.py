"""Tensors and automatic differentiation in reverse mode. Read this first.

An operation is a plain function of arrays that returns its result and a *pullback*: a closure that takes the
gradient of the result and returns the gradient of each array. `differentiable` turns it into a function of tensors.
If an input requires a gradient, the result has a graph node: the pullback, and the node or leaf tensor that receives
the gradient of each input. Nodes refer only to their inputs, so that dropping the result frees the graph at once.
`backward` visits nodes in the reverse order of their creation, without recursion.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeAlias

import numpy as np

from cuslayer import check
from cuslayer.backend import Array, Setting, namespace, to_device, to_numpy

# The gradient of one array: an array, None if there is none, or a function that computes it and is called on demand.
Gradient: TypeAlias = "Array | Callable[[], Array] | None"
# Takes the gradient of an operation's result; returns that of its only array, or a tuple or list, one for each array.
Pullback: TypeAlias = "Callable[[Array], Gradient | Sequence[Gradient]]"

_serial = itertools.count()
_grad_enabled = Setting(True)


class Node:
    """A graph node: an operation's pullback and its inputs.

    Each of `inputs` is the node that made the input, a leaf tensor, or None where no gradient is required.
    """

    __slots__ = ("inputs", "pullback", "serial", "shape")

    def __init__(self, pullback: Pullback, inputs: tuple[Node | Tensor | None, ...], shape: tuple[int, ...]) -> None:
        self.serial = next(_serial)
        self.pullback: Pullback | None = pullback
        self.inputs, self.shape = inputs, shape

    def input_gradients(self, grad: list[Array]) -> list[tuple[Node | Tensor, Array]]:
        """Return each input that requires a gradient with its gradient; free what forward saved.

        `grad` is a list of one item, the result's gradient. It is emptied, so that the pullback can free the array.
        """
        if self.pullback is None:
            raise ValueError("backward: this graph has been walked before and its memory freed; run forward again")
        found = self.pullback(grad.pop())
        gradients = found if isinstance(found, (tuple, list)) else (found,)
        required = [(x, g) for x, g in zip(self.inputs, gradients, strict=True) if x is not None and g is not None]
        self.pullback, self.inputs = None, ()
        return [(x, g() if callable(g) else g) for x, g in required]


class Tensor:
    """An array and its gradient.

    Args:
        data: numbers or booleans (spikes) of any shape; float32, float64 and boolean arrays keep their type,
            everything else becomes float32. It is moved to the device in use.
        requires_grad: whether `backward` writes a gradient to `grad`.

    Attributes:
        data: the array, NumPy's or CuPy's.
        grad: after `backward`, the gradient of a leaf, of data's shape; None before.

    Raises:
        TypeError: data is not made of real numbers.

    >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad.tolist()
    [2.0, 4.0, 6.0]
    """

    __slots__ = ("__weakref__", "data", "grad", "node", "requires_grad")
    # Makes NumPy defer `array + tensor` to the tensor.
    __array_ufunc__ = None

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        if isinstance(data, Tensor):
            raise TypeError("Tensor: data is a Tensor already")
        given = getattr(data, "dtype", None)
        array = to_device(data)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"Tensor: data must be real numbers or booleans, got {array.dtype}")
        if given not in (np.float32, np.float64) and array.dtype != bool:
            array = array.astype(np.float32)
        self.data: Array = array
        self.grad: Array | None = None
        self.node: Node | None = None
        self.requires_grad = requires_grad

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of data."""
        return tuple(self.data.shape)

    @property
    def ndim(self) -> int:
        """The number of axes of data."""
        return self.data.ndim

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of data: float32, float64 or bool."""
        return self.data.dtype

    def numpy(self) -> Array:
        """Return data as a NumPy array, copied only from a GPU."""
        return to_numpy(self.data)

    def item(self) -> float:
        """Return the only element of data as a number."""
        return float(self.data.item())

    def detach(self) -> Tensor:
        """Return a tensor of the same data outside of the graph: no gradient flows through it."""
        return _tensor(self.data)

    def backward(self, grad: Any = None) -> None:
        """Compute the gradient of every leaf that requires one and add it to the leaf's `grad`.

        The arrays that forward saved are freed, so that backward can run only once on a graph.

        Args:
            grad: the gradient of this tensor, of its shape; 1 for a scalar.

        Raises:
            ValueError: no gradient is required, grad is missing or has another shape, or backward ran before.
        """
        if not self.requires_grad:
            raise ValueError("backward: no gradient is wanted: nothing that made this tensor has requires_grad")
        if grad is None and self.data.size != 1:
            raise ValueError(f"backward: grad is needed for a tensor of shape {self.shape}")
        start = namespace(self.data).ones(self.shape, numeric(self.data).dtype) if grad is None else to_device(grad)
        _backpropagate(self.node or self, start)

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        numbers = np.array2string(self.numpy(), threshold=20, edgeitems=3 if self.ndim < 3 else 1, prefix="Tensor(")
        return f"Tensor({numbers}{', requires_grad=True' if self.requires_grad else ''})"

    def __add__(self, other: Any) -> Tensor:
        return add(self, _operand(other, self))

    def __sub__(self, other: Any) -> Tensor:
        return subtract(self, _operand(other, self))

    def __rsub__(self, other: Any) -> Tensor:
        return subtract(_operand(other, self), self)

    def __mul__(self, other: Any) -> Tensor:
        return multiply(self, _operand(other, self))

    __radd__, __rmul__ = __add__, __mul__

    def __truediv__(self, other: Any) -> Tensor:
        return divide(self, _operand(other, self))

    def __rtruediv__(self, other: Any) -> Tensor:
        return divide(_operand(other, self), self)

    def __matmul__(self, other: Any) -> Tensor:
        return matmul(self, other)

    def __neg__(self) -> Tensor:
        return multiply(self, _operand(-1.0, self))

    def __getitem__(self, index: Any) -> Tensor:
        return take(self, index=index)

    def exp(self) -> Tensor:
        """Return the exponential of each element."""
        return exp(self)

    def abs(self) -> Tensor:
        """Return the absolute value of each element, with gradient 0 at 0."""
        return absolute(self)

    __abs__ = abs

    def sum(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        """Return the sum over the given axes, by default all."""
        return total(self, axis=axis, keepdims=keepdims)

    def mean(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        """Return the mean over the given axes, by default all."""
        summed = total(self, axis=axis, keepdims=keepdims)
        return summed * (max(summed.data.size, 1) / max(self.data.size, 1))

    def reshape(self, *shape: Any) -> Tensor:
        """Return the same elements in another shape, given as integers or as one tuple."""
        return reshape(self, shape=shape[0] if len(shape) == 1 and isinstance(shape[0], tuple) else shape)


def _tensor(data: Array, node: Node | None = None) -> Tensor:
    """Return a tensor of an array that needs no conversion: the type, the layout and the device are right."""
    tensor = Tensor.__new__(Tensor)
    tensor.data, tensor.grad, tensor.node, tensor.requires_grad = data, None, node, node is not None
    return tensor


def as_tensor(x: Any) -> Tensor:
    """Return x if it is a tensor, else a tensor of it."""
    return x if isinstance(x, Tensor) else Tensor(x)


def _backpropagate(start: Node | Tensor, grad: Array) -> None:
    """Visit the graph of `start` in descending order of serial numbers and accumulate the gradients of its leaves."""
    pending: dict[int, tuple[Node, list[Array]]] = {}
    queue: list[int] = []

    def accumulate(target: Node | Tensor, g: Array, shared: list[int]) -> None:
        check.same_shape("backward", "a gradient", g, "its tensor", target)
        if isinstance(target, Tensor):
            # Shared arrays are copied, so that editing one gradient in place does not change another.
            dtype = g.dtype if target.data.dtype == bool else target.data.dtype
            g = g.astype(dtype, copy=g.base is not None or id(g) in shared)
            target.grad = g if target.grad is None else target.grad + g
        elif target.serial in pending:
            pending[target.serial][1][0] = pending[target.serial][1][0] + g
        else:
            pending[target.serial] = target, [g]
            heapq.heappush(queue, -target.serial)

    accumulate(start, grad, [id(grad)])
    while queue:
        node, gradient = pending.pop(-heapq.heappop(queue))
        source, found = id(gradient[0]), node.input_gradients(gradient)
        while found:
            accumulate(*found.pop(0), [source, *(id(g) for _, g in found)])


@contextmanager
def no_grad(active: bool = True) -> Iterator[None]:
    """Build no graph within this block, in its thread only; also a decorator. With active=False, do build one.

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


def differentiable(operation: Callable[..., tuple[Array, Pullback]]) -> Callable[..., Tensor]:
    """Turn an operation on arrays into a differentiable one on tensors.

    The operation takes arrays by position and options by keyword, and returns its result and a pullback. The pullback
    takes the gradient of the result and returns one entry for each array, in order: its gradient, None, or a function
    without arguments that computes the gradient, called only if the array requires one.

    >>> @differentiable
    ... def double(x, /):
    ...     return 2 * x, lambda grad: 2 * grad
    >>> x = Tensor([3.0], requires_grad=True)
    >>> double(x).backward(); x.grad.tolist()
    [2.0]
    """

    @wraps(operation)
    def on_tensors(*arrays: Any, **options: Any) -> Tensor:
        tensors = [as_tensor(x) for x in arrays]
        data, pullback = operation(*(t.data for t in tensors), **options)
        if not (grad_enabled() and any(t.requires_grad for t in tensors)):
            return _tensor(data)
        inputs = tuple((t.node or t) if t.requires_grad else None for t in tensors)
        return _tensor(data, Node(pullback, inputs, data.shape))

    return on_tensors


def numeric(x: Array) -> Array:
    """Return x with spikes counted as 1.0, in float32."""
    return x.astype(np.float32) if x.dtype == bool else x


def _operand(value: Any, beside: Tensor) -> Any:
    """Return value; a plain number is converted to the other operand's dtype, so that it does not widen the result."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return Tensor(np.asarray(value, numeric(beside.data).dtype))
    return value


def _to_shape(grad: Array, shape: tuple[int, ...]) -> Array:
    """Sum grad over the axes that broadcasting added or stretched, to the given shape."""
    if grad.shape == shape:
        return grad
    grad = grad.sum(axis=tuple(range(grad.ndim - len(shape))))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and grad.shape[i] != 1)
    return grad.sum(axis=stretched, keepdims=True) if stretched else grad


@differentiable
def add(a: Array, b: Array, /) -> tuple[Array, Pullback]:
    """Return a + b, broadcast."""
    return numeric(a) + numeric(b), lambda g: (_to_shape(g, a.shape), _to_shape(g, b.shape))


@differentiable
def subtract(a: Array, b: Array, /) -> tuple[Array, Pullback]:
    """Return a - b, broadcast."""
    return numeric(a) - numeric(b), lambda g: (_to_shape(g, a.shape), lambda: -_to_shape(g, b.shape))


@differentiable
def multiply(a: Array, b: Array, /) -> tuple[Array, Pullback]:
    """Return a b, element by element, broadcast."""
    return numeric(a) * numeric(b), lambda g: (lambda: _to_shape(g * b, a.shape), lambda: _to_shape(g * a, b.shape))


@differentiable
def divide(a: Array, b: Array, /) -> tuple[Array, Pullback]:
    """Return a / b, element by element, broadcast."""
    a, b = numeric(a), numeric(b)
    out = a / b
    return out, lambda g: (lambda: _to_shape(g / b, a.shape), lambda: _to_shape(-g * out / b, b.shape))


@differentiable
def exp(x: Array, /) -> tuple[Array, Pullback]:
    """Return the exponential of each element of x."""
    out = namespace(x).exp(numeric(x))
    return out, lambda g: g * out


@differentiable
def absolute(x: Array, /) -> tuple[Array, Pullback]:
    """Return the absolute value of each element of x, with gradient 0 at 0."""
    x = numeric(x)
    return abs(x), lambda g: g * namespace(x).sign(x)


@differentiable
def total(x: Array, /, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> tuple[Array, Pullback]:
    """Return the sum of x over the given axes, by default all."""
    xp, shape = namespace(x), x.shape
    out = xp.asarray(numeric(x).sum(axis=axis, keepdims=keepdims))

    def pullback(g: Array) -> Array:
        if axis is not None and not keepdims:
            g = xp.expand_dims(g, axis)
        return xp.broadcast_to(g, shape)

    return out, pullback


@differentiable
def reshape(x: Array, /, *, shape: tuple[int, ...]) -> tuple[Array, Pullback]:
    """Return the elements of x in another shape."""
    before = x.shape
    return x.reshape(shape), lambda g: g.reshape(before)


@differentiable
def take(x: Array, /, *, index: Any) -> tuple[Array, Pullback]:
    """Return x[index], for any index that NumPy accepts."""
    xp, shape = namespace(x), x.shape
    parts = index if isinstance(index, tuple) else (index,)
    plain = all(part is None or part is Ellipsis or isinstance(part, (int, slice)) for part in parts)

    def pullback(g: Array) -> Array:
        grad = xp.zeros(shape, g.dtype)
        if plain:
            grad[index] = g
        else:
            xp.add.at(grad, index, g)  # an index may name an element twice
        return grad

    return xp.ascontiguousarray(x[index]) if x[index].ndim else xp.asarray(x[index]), pullback


@differentiable
def matmul(a: Array, b: Array, /) -> tuple[Array, Pullback]:
    """Return the matrix product a b over the last two axes, the others broadcast."""
    if a.ndim < 2 or b.ndim < 2:
        raise ValueError(f"matmul: both must be matrices, got shapes {a.shape} and {b.shape}")
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"matmul: a has {a.shape[-1]} columns, b has {b.shape[-2]} rows")
    a, b = numeric(a), numeric(b)
    return a @ b, lambda g: (
        lambda: _to_shape(g @ b.swapaxes(-1, -2), a.shape),
        lambda: _to_shape(a.swapaxes(-1, -2) @ g, b.shape),
    )
