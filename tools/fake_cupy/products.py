"""Products of matrices and sums of products."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tools.fake_cupy.array import DeviceArray, empty, filled, launch, made
from tools.fake_cupy.elementwise import elementwise, has_operators, operand
from tools.fake_cupy.shapes import ascontiguousarray, astype, copy, ravel, reshape
from tools.fake_cupy.streams import current


def matmul(a: DeviceArray, b: Any) -> Any:
    """Return the product of matrices over the last two axes, the others broadcast; one axis makes a vector."""
    if has_operators(b):
        return NotImplemented
    x, y = operand(a), operand(b)
    if not x.ndim or not getattr(y, "ndim", 0):
        raise ValueError("Scalar operands are not allowed, use '*' instead")
    a, b = a if x.ndim > 1 else reshape(a, 1, -1), b if y.ndim > 1 else reshape(b, -1, 1)
    (*more, n, k), (*further, other, m) = a.host.shape, b.host.shape
    if k != other:
        raise ValueError(f"matmul: shapes {x.shape} and {y.shape} not aligned")
    batch = np.broadcast_shapes(tuple(more), tuple(further))
    shape = (*batch, *([n] if x.ndim > 1 else []), *([m] if y.ndim > 1 else []))
    return _product(a, b, batch, empty(shape, np.result_type(x.dtype, y.dtype)))


def _product(a: DeviceArray, b: DeviceArray, batch: tuple[int, ...], out: DeviceArray) -> DeviceArray:
    """Write the product of matrices to out: one of cuBLAS, and the conversions and copies that it needs before.

    A product of two vectors is an array of products of elements, and its sum.
    """
    (n, k), m, dtype = a.host.shape[-2:], b.host.shape[-1], out.host.dtype
    if not a.host.size or not b.host.size:
        return filled(out, 0)
    if n == m == 1 and not batch:
        products = elementwise("mul", np.multiply, ravel(a), ravel(b))
        each, shape = products.host, out.host.shape
        return made("sum", lambda: each.sum(dtype=dtype).reshape(shape), [products], out)
    if current().is_capturing():
        raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
    a, b = astype(a, dtype, copy=False), astype(b, dtype, copy=False)
    if batch:
        a, b = ascontiguousarray(a), ascontiguousarray(b)
        if a.host.shape[:-2] != b.host.shape[:-2]:
            _pointers(3 * len(batch), math.prod(batch))
    else:
        a, b = (x if x.host.flags.forc else copy(x) for x in (a, b))
    one, other, shape = a.host, b.host, out.host.shape
    flops = 2 * out.host.size * k
    return made("matmul", lambda: np.matmul(one, other).reshape(shape), [a, b], out, kind="product", flops=flops)


def _pointers(kernels: int, matrices: int) -> None:
    """Count the kernels that write the addresses of matrices that broadcast: one for each array and axis."""
    for _ in range(kernels):
        launch("mat_ptrs", lambda: None, [], [empty(matrices, np.uint64)])


def einsum(subscripts: str, *arrays: DeviceArray, optimize: bool = False) -> DeviceArray:
    """Return a sum of products. CuPy makes it of transposes and products: of several arrays it counts as one."""
    hosts = [operand(x) for x in arrays]
    found, several = np.einsum(subscripts, *hosts, optimize=optimize), len(arrays) > 1
    words = subscripts.replace(" ", "").partition("->")[0].split(",")
    sizes = dict(pair for word, x in zip(words, hosts, strict=True) for pair in zip(word, x.shape, strict=False))
    return made(
        "einsum",
        lambda: np.einsum(subscripts, *hosts, optimize=optimize),
        arrays,
        empty(found.shape, found.dtype),
        kind="product" if several else "kernel",
        flops=2 * math.prod(sizes.values()) if several else 0,
    )


OPERATORS: dict[str, Callable[..., Any]] = {"__matmul__": matmul}
FUNCTIONS: dict[str, Callable[..., Any]] = {"einsum": einsum}
