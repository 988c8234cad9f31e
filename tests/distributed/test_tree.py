"""The order of sums: the same additions on any number of processes."""

import math
from functools import partial

import numpy as np
import pytest

from cuslayer.distributed import Context, DataParallel, sums
from cuslayer.distributed.sums import Label, Partial, add_later, add_up, fill, labels, share
from cuslayer.tape import Tensor
from tests.support.processes import together


def joined(a, b):
    return f"({a} {b})"


def by_one(leaves):
    partial = Partial(leaves, joined)
    for leaf in range(leaves):
        partial.add(Label(0, leaf), str(leaf))
    [(_, text)] = partial.nodes
    return text


def by_several(leaves, size):
    """Let each process add its leaves, and another one what they have."""
    found = []
    for rank in range(size):
        partial = Partial(leaves, joined)
        for leaf in share(leaves, rank, size):
            partial.add(Label(0, leaf), str(leaf))
        assert [label for label, _ in partial.nodes] == labels(leaves, share(leaves, rank, size))
        assert len(partial.nodes) <= 2 * math.ceil(math.log2(leaves + 1))
        found += partial.nodes
    total = Partial(leaves, joined)
    for label, text in found:
        total.add(label, text)
    [(_, text)] = total.nodes
    return text


def test_the_order_of_a_sum():
    assert by_one(1) == "0"
    assert by_one(4) == "((0 1) (2 3))"
    assert by_one(6) == "(((0 1) (2 3)) (4 5))"
    assert by_one(7) == "(((0 1) (2 3)) ((4 5) 6))"
    for leaves in range(1, 34):
        for size in range(1, 13):
            assert by_several(leaves, size) == by_one(leaves), (leaves, size)
    for leaves in range(20):
        for size in range(1, 9):
            parts = [share(leaves, rank, size) for rank in range(size)]
            assert [leaf for part in parts for leaf in part] == list(range(leaves))
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


def gradients(leaf, dtypes):
    r = np.random.default_rng(leaf)
    return [(r.standard_normal(shape) * 10.0 ** r.integers(-6, 6)).astype(dtype) for shape, dtype in dtypes]


SHAPES = [((3, 5), np.float32), ((1,), np.float64), ((2,), np.float32), ((7, 2, 1), np.float32), ((0, 3), np.float32)]


def summed(context, leaves, **options):
    """Return the sums of gradients that a step adds, as bytes."""
    parallel = DataParallel(context, micro=1, **options)
    parameters = [Tensor(np.zeros(shape, dtype), requires_grad=True) for shape, dtype in SHAPES]
    frozen = Tensor(np.zeros(2))
    sums = parallel.sums([*parameters, frozen], leaves)
    part = share(leaves, context.rank, context.size)
    for leaf in part:
        for p, g in zip(parameters, gradients(leaf, SHAPES), strict=True):
            p.grad = g
        sums.add(leaf, leaf == part[-1])
    sums.finish()
    assert frozen.grad is None
    return [(p.grad.shape, p.grad.dtype.name, p.grad.tobytes()) for p in parameters]


@pytest.mark.parametrize("bucket", [1e-5, 4.0])
def test_sums_of_arrays(bucket):
    """Odd shapes, two types, more processes than leaves, buckets of one and of all parameters."""
    for leaves in (1, 5, 8):
        alone = summed(Context(), leaves, bucket=bucket)
        exact = [sum(each) for each in zip(*(gradients(leaf, SHAPES) for leaf in range(leaves)), strict=True)]
        for (shape, dtype, found), wanted in zip(alone, exact, strict=True):
            got = np.frombuffer(found, dtype).reshape(shape)
            scale = max(np.abs(each).max(initial=0) for leaf in range(leaves) for each in gradients(leaf, SHAPES))
            np.testing.assert_allclose(got, wanted, atol=1e-6 * scale)
        for size in (2, 3, 4):
            found = together(size, partial(summed, leaves=leaves, bucket=bucket))
            assert all(each == alone for each in found)


def test_fast_sums_are_the_same_but_for_rounding():
    alone = summed(Context(), 7)
    found = together(3, lambda context: summed(context, 7, fast=True))
    assert any(each != alone for each in found)
    for each in found:
        for (_, dtype, a), (_, _, b) in zip(each, alone, strict=True):
            np.testing.assert_allclose(np.frombuffer(a, dtype), np.frombuffer(b, dtype), rtol=1e-3, atol=1.0)


def test_buckets_have_parameters_of_one_type_from_the_last_on():
    parameters = [Tensor(np.zeros(n, t)) for n, t in [(10, "f4"), (1, "f4"), (1, "f8"), (1, "f4"), (2, "f4")]]
    found = [[p.data.size for p in bucket.parameters] for bucket in fill(parameters, 1.0)]
    assert found == [[2, 1], [1], [1, 10]]
    assert [b.size for b in fill(parameters, 1e-9)] == [2, 1, 1, 1, 10]


@pytest.mark.parametrize("size", [0, 1, (1 << 15) - 1, (1 << 15) + 3, 3 << 15])
@pytest.mark.parametrize("arrays", [1, 2, 3, 4, 5, 8])
def test_additions_that_wait(size, arrays):
    """The sum of pairs, in whatever pieces: four arrays are added in one pass."""
    given = [(np.random.default_rng(n).standard_normal(size) * 10.0**n).astype(np.float32) for n in range(arrays)]
    wanted, later, waiting = given[0].copy(), given[0].copy(), []
    for each in given[1:]:
        wanted = wanted + each
        later = add_later(later, each.copy())
        waiting.append(isinstance(later, tuple))
    assert waiting == [True, True, False, True, True, False, True][: arrays - 1]
    out = np.full(size, np.nan, np.float32)
    assert add_up(later, out) is out
    assert out.tobytes() == wanted.tobytes()
    assert add_up(later).tobytes() == wanted.tobytes()


def test_additions_of_a_right_operand_that_waits(monkeypatch):
    a, b, c, d = (np.full(3, 10.0**n, np.float32) for n in (8, 0, 0, -3))
    wanted = a + (b + (c + d))
    assert add_up((a.copy(), (b.copy(), (c.copy(), d.copy())))).tolist() == wanted.tolist()
    four = add_later(add_later(a.copy(), b.copy()), add_later(c.copy(), d.copy()))
    assert four.tolist() == ((a + b) + (c + d)).tolist()
    monkeypatch.setattr(sums, "_MOST_BYTES", 20)
    a = np.ones(3, np.float32)
    assert add_later(a, np.ones(3, np.float32)) is a
    assert a.tolist() == [2.0] * 3
