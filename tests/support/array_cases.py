"""Calls of the functions on arrays that NumPy has too: each is a function of a module, cs.functions or NumPy."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis=-1):
    shares = np.exp(x)
    return shares / shares.sum(axis=axis, keepdims=True)


def logsumexp(x, axis=None, keepdims=False):
    return np.log(np.exp(x).sum(axis=axis, keepdims=keepdims))


# NumPy, with what it lacks.
NUMPY = SimpleNamespace(**vars(np), sigmoid=sigmoid, softmax=softmax, logsumexp=logsumexp, norm=np.linalg.norm)
NUMPY.astype = lambda x, dtype: x.astype(dtype)

MASK = np.array([[True], [False], [True]])

# The call and the shapes of its arrays.
SMOOTH: dict[str, tuple[Callable[..., Any], tuple[tuple[int, ...], ...]]] = {
    "add": (lambda xp, a, b: xp.add(a, b), ((3, 1, 4), (2, 1))),
    "subtract": (lambda xp, a, b: xp.subtract(a, b), ((2, 3), (3,))),
    "multiply": (lambda xp, a, b: xp.multiply(a, b), ((2, 3), (2, 1))),
    "divide": (lambda xp, a, b: xp.divide(a, xp.exp(b)), ((2, 3), ())),
    "negative": (lambda xp, a: xp.negative(a), ((2, 3),)),
    "absolute": (lambda xp, a: xp.absolute(a), ((2, 3),)),
    "exp": (lambda xp, a: xp.exp(a), ((2, 3),)),
    "power": (lambda xp, a, b: xp.power(xp.exp(a), b), ((2, 3), (3,))),
    "power, a number above": (lambda xp, a: xp.power(a, 3), ((2, 3),)),
    "power, a number below": (lambda xp, a: xp.power(2.0, a), ((2, 3),)),
    "log": (lambda xp, a: xp.log(xp.exp(a) + 1.0), ((2, 3),)),
    "sqrt": (lambda xp, a: xp.sqrt(xp.exp(a)), ((2, 3),)),
    "square": (lambda xp, a: xp.square(a), ((2, 3),)),
    "sin": (lambda xp, a: xp.sin(a), ((2, 3),)),
    "cos": (lambda xp, a: xp.cos(a), ((2, 3),)),
    "tanh": (lambda xp, a: xp.tanh(a), ((2, 3),)),
    "sigmoid": (lambda xp, a: xp.sigmoid(a), ((2, 3),)),
    "clip": (lambda xp, a: xp.clip(a, -0.5, 0.7), ((4, 3),)),
    "clip, an array": (lambda xp, a: xp.clip(a, None, np.array([-0.5, 0.0, 0.5])), ((4, 3),)),
    "clip, to tensors": (lambda xp, a, low, high: xp.clip(a, low, high), ((4, 3), (3,), (3,))),
    "where": (lambda xp, a, b: xp.where(MASK, a, b), ((3, 4), (4,))),
    "where, numbers as condition": (lambda xp, a: xp.where(np.array([0.0, 2.0]), a, 1), ((3, 2),)),
    "maximum": (lambda xp, a, b: xp.maximum(a, b), ((3, 4), (3, 1))),
    "minimum": (lambda xp, a, b: xp.minimum(a, b), ((4,), (3, 1))),
    "astype": (lambda xp, a: xp.astype(a, np.float64), ((3, 4),)),
    "sum": (lambda xp, a: xp.sum(a), ((2, 3),)),
    "sum, axes": (lambda xp, a: xp.sum(a, axis=(0, -1)), ((2, 3, 4),)),
    "mean": (lambda xp, a: xp.mean(a, axis=-1, keepdims=True), ((2, 3),)),
    "max": (lambda xp, a: xp.max(a), ((3, 4),)),
    "max, axes": (lambda xp, a: xp.max(a, axis=(0, -1), keepdims=True), ((2, 3, 4),)),
    "min": (lambda xp, a: xp.min(a), ((3, 4),)),
    "var": (lambda xp, a: xp.var(a), ((3, 4),)),
    "var, axis": (lambda xp, a: xp.var(a, axis=1, ddof=1), ((3, 4),)),
    "std, axis": (lambda xp, a: xp.std(a, axis=-2, ddof=1, keepdims=True), ((3, 4),)),
    "cumsum": (lambda xp, a: xp.cumsum(a), ((3, 4),)),
    "cumsum, axis": (lambda xp, a: xp.cumsum(a, axis=-2), ((3, 4),)),
    "prod": (lambda xp, a: xp.prod(a), ((3, 4),)),
    "prod, axes": (lambda xp, a: xp.prod(a, axis=(0, -1), keepdims=True), ((2, 3, 4),)),
    "logsumexp": (lambda xp, a: xp.logsumexp(a), ((3, 4),)),
    "logsumexp, axes": (lambda xp, a: xp.logsumexp(a, axis=(0, -1), keepdims=True), ((2, 3, 4),)),
    "norm": (lambda xp, a: xp.norm(a), ((3, 4),)),
    "norm, axis": (lambda xp, a: xp.norm(a, ord=2, axis=-2, keepdims=True), ((2, 3, 4),)),
    "sort": (lambda xp, a: xp.sort(a), ((3, 4),)),
    "sort, axis": (lambda xp, a: xp.sort(a, axis=-2), ((2, 3, 4),)),
    "sort, flat": (lambda xp, a: xp.sort(a, axis=None), ((3, 4),)),
    "flip": (lambda xp, a: xp.flip(a), ((3, 4),)),
    "flip, axes": (lambda xp, a: xp.flip(a, axis=(0, -1)), ((2, 3, 4),)),
    "pad": (lambda xp, a: xp.pad(a, 1), ((3, 4),)),
    "pad, axes": (lambda xp, a: xp.pad(a, ((0, 1), (2, 0)), constant_values=1), ((3, 4),)),
    "repeat": (lambda xp, a: xp.repeat(a, 2), ((3, 4),)),
    "repeat, axis": (lambda xp, a: xp.repeat(a, [2, 0, 1], axis=-2), ((3, 4),)),
    "softmax": (lambda xp, a: xp.softmax(a), ((3, 4),)),
    "softmax, axes": (lambda xp, a: xp.softmax(a, axis=(0, -1)), ((2, 3, 4),)),
    "reshape": (lambda xp, a: xp.reshape(a, (4, -1)), ((2, 6),)),
    "ravel": (lambda xp, a: xp.ravel(a), ((2, 6),)),
    "transpose": (lambda xp, a: xp.transpose(a), ((2, 3, 4),)),
    "transpose, axes": (lambda xp, a: xp.transpose(a, (1, -1, 0)), ((2, 3, 4),)),
    "swapaxes": (lambda xp, a: xp.swapaxes(a, 0, -1), ((2, 3, 4),)),
    "moveaxis": (lambda xp, a: xp.moveaxis(a, (0, 1), (-1, 0)), ((2, 3, 4),)),
    "squeeze": (lambda xp, a: xp.squeeze(a), ((1, 3, 1),)),
    "expand_dims": (lambda xp, a: xp.expand_dims(a, (0, -1)), ((2, 3),)),
    "concatenate": (lambda xp, a, b, c: xp.concatenate([a, b, c], axis=-1), ((2, 3), (2, 1), (2, 0))),
    "concatenate, flat": (lambda xp, a, b: xp.concatenate([a, b], axis=None), ((2, 3), (2,))),
    "stack": (lambda xp, a, b: xp.stack([a, b], axis=-1), ((2, 3), (2, 3))),
    "copy": (lambda xp, a: xp.copy(a), ((2, 3),)),
    "matmul": (lambda xp, a, b: xp.matmul(a, b), ((5, 3, 4), (4, 2))),
    "matmul, vectors": (lambda xp, a, b: xp.matmul(a, b), ((4,), (4,))),
    "matmul, a vector on the left": (lambda xp, a, b: xp.matmul(a, b), ((4,), (5, 4, 2))),
    "matmul, a vector on the right": (lambda xp, a, b: xp.matmul(a, b), ((5, 3, 4), (4,))),
    "dot": (lambda xp, a, b: xp.dot(a, b), ((2, 3, 4), (5, 4, 2))),
    "dot, a scalar": (lambda xp, a, b: xp.dot(a, b), ((), (3,))),
    "tensordot": (lambda xp, a, b: xp.tensordot(a, b), ((2, 3, 4), (3, 4, 5))),
    "tensordot, axes": (lambda xp, a, b: xp.tensordot(a, b, axes=((0, -1), (1, 0))), ((2, 3, 4), (4, 2, 5))),
    "tensordot, outer": (lambda xp, a, b: xp.tensordot(a, b, axes=0), ((2, 3), (4,))),
    "einsum": (lambda xp, a, b: xp.einsum("ij,jk->ik", a, b), ((2, 3), (3, 4))),
    "einsum, all summed": (lambda xp, a, b: xp.einsum("ij,kj->", a, b), ((2, 3), (4, 3))),
    "einsum, implicit": (lambda xp, a, b: xp.einsum("ba, bc", a, b), ((2, 3), (2, 4))),
    "einsum, three": (lambda xp, a, b, c: xp.einsum("ij,jk,ki->j", a, b, c), ((2, 3), (3, 4), (4, 2))),
    "einsum, ellipsis": (lambda xp, a, b: xp.einsum("...ij,...jk->...ik", a, b), ((5, 1, 2, 3), (6, 3, 2))),
    "einsum, size 1": (lambda xp, a, b: xp.einsum("ij,ij->i", a, b), ((2, 3), (2, 1))),
    "einsum, no axis": (lambda xp, a, b: xp.einsum(",i->i", a, b), ((), (3,))),
}

# A result without a gradient.
CONSTANT: dict[str, tuple[Callable[..., Any], tuple[tuple[int, ...], ...]]] = {
    "equal": (lambda xp, a, b: xp.equal(a, b), ((3, 4), (4,))),
    "not_equal": (lambda xp, a, b: xp.not_equal(a, b), ((3, 4), (4,))),
    "less": (lambda xp, a, b: xp.less(a, b), ((3, 4), (4,))),
    "less, a number on the left": (lambda xp, a: xp.less(0.5, a), ((3, 4),)),
    "less_equal": (lambda xp, a, b: xp.less_equal(a, b), ((3, 4), (4,))),
    "greater": (lambda xp, a, b: xp.greater(a, b), ((3, 4), (4,))),
    "greater_equal": (lambda xp, a: xp.greater_equal(a, 0.5), ((3, 4),)),
    "logical_and": (lambda xp, a, b: xp.logical_and(a > 0, b), ((3, 4), (4,))),
    "logical_or": (lambda xp, a, b: xp.logical_or(a > 0, b > 0), ((3, 4), (4,))),
    "logical_xor": (lambda xp, a, b: xp.logical_xor(a > 0, b > 0), ((3, 4), (4,))),
    "logical_not": (lambda xp, a: xp.logical_not(a > 0), ((3, 4),)),
    "operators": (lambda xp, a: (a > 0) & ~(a < 1) | (a != 0) ^ (a == 1), ((3, 4),)),
    "argmax": (lambda xp, a: xp.argmax(a), ((3, 4),)),
    "argmin": (lambda xp, a: xp.argmin(a, axis=0, keepdims=True), ((3, 4),)),
    "any": (lambda xp, a: xp.any(a > 1, axis=0), ((3, 4),)),
    "all": (lambda xp, a: xp.all(a > -1, axis=(0, -1), keepdims=True), ((3, 4),)),
}
