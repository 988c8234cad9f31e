"""Products of matrices on the CPU: every layout in memory, blocks, and sums of many terms."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import functions
from cuslayer.kernels.synapse.dense.products import matmul, matrices

RNG = np.random.default_rng(3)


def in_memory(shape, layout, dtype):
    """Return a matrix that lies in memory in some way."""
    rows, columns = shape
    if layout == "rows":
        return RNG.standard_normal(shape).astype(dtype)
    if layout == "columns":
        return RNG.standard_normal((columns, rows)).astype(dtype).T
    if layout == "neither":
        return RNG.standard_normal((2 * rows, 3 * columns)).astype(dtype)[::2, ::3]
    x = RNG.standard_normal(shape).astype(dtype)
    if layout == "reversed":
        return x[::-1, ::-1]
    x.flags.writeable = False
    return x


# Numbers that no block divides, a few rows or columns, more than one block of rows, columns and terms, parts of a sum.
SIZES = [
    (1, 1, 1),
    (7, 20, 3),
    (1, 70, 100),
    (20, 33, 65),
    (300, 17, 50),
    (30, 1100, 170),
    (5, 2500, 70),
    (90, 4100, 66),
]


@pytest.mark.parametrize("layout", ["rows", "columns", "neither", "reversed", "fixed"])
@pytest.mark.parametrize(("rows", "terms", "columns"), [*SIZES, (0, 3, 4), (3, 0, 4), (3, 4, 0)])
def test_layouts(rows, terms, columns, layout):
    for dtype, tolerance in ((np.float32, 2e-6), (np.float64, 1e-14)):
        a = in_memory((rows, terms), layout, dtype)
        for other in ("rows", "columns", layout):
            b = in_memory((terms, columns), other, dtype)
            product = matmul(a, b)
            assert product.dtype == dtype
            expected = a.astype(float) @ b.astype(float)
            np.testing.assert_allclose(product, expected, atol=tolerance * max(1, terms), rtol=0)


def test_bits_do_not_depend_on_threads():
    factors = [
        (in_memory((rows, terms), "columns", np.float32), in_memory((terms, columns), "columns", np.float32))
        for rows, terms, columns in SIZES
    ]
    products = []
    for threads in (1, 2, 5):
        cs.threads(threads)
        products.append([matmul(a, b).tobytes() for a, b in factors])
    assert products[0] == products[1] == products[2]


def test_factors_that_broadcast():
    for a, b in (((5, 1, 6, 20), (3, 20, 7)), ((1, 6, 20), (4, 20, 7)), ((6, 20), (4, 20, 7)), ((2, 3, 70, 9), (9, 5))):
        x = RNG.standard_normal(a)
        y = RNG.standard_normal(b)
        np.testing.assert_allclose(matrices(x, y), x @ y, rtol=1e-12, atol=1e-12)
        of_columns = np.swapaxes(np.ascontiguousarray(np.swapaxes(y, -1, -2)), -1, -2)
        np.testing.assert_allclose(matrices(x, of_columns), x @ y, rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match="broadcast"):
        matrices(np.ones((2, 3, 4)), np.ones((3, 4, 5)))


def test_factors_of_two_types():
    a = RNG.standard_normal((20, 30)).astype(np.float32)
    b = RNG.standard_normal((30, 5))
    for x, y in ((a, b), (b.T, a.T)):
        assert matmul(x, y).dtype == x.dtype
        np.testing.assert_allclose(matmul(x, y), x @ y, atol=1e-4)


def test_numbers_that_are_not_finite():
    a = np.zeros((40, 30), np.float32)
    a[3, 4], a[5, 6] = np.inf, np.nan
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(matmul(a, np.eye(30, dtype=np.float32)), a @ np.eye(30, dtype=np.float32))


def test_einsum_of_drawn_labels():
    """Labels of one operand, of both, of the result, and axes of one element that broadcast."""
    draw = np.random.default_rng(0)
    sizes = dict(zip("abcdef", (2, 3, 4, 5, 1, 6), strict=True))
    for operands in [2] * 120 + [3] * 60:
        inputs = ["".join(draw.permutation(list(sizes))[: draw.integers(0, 5)]) for _ in range(operands)]
        labels = sorted(set("".join(inputs)))
        subscripts = f"{','.join(inputs)}->{''.join(draw.permutation(labels)[: draw.integers(0, len(labels) + 1)])}"
        arrays = [
            draw.standard_normal([1 if draw.random() < 0.15 else sizes[label] for label in own]) for own in inputs
        ]
        largest = dict.fromkeys(labels, 1)
        for own, array in zip(inputs, arrays, strict=True):
            for label, size in zip(own, array.shape, strict=True):
                largest[label] = max(largest[label], size)
        full = [
            np.broadcast_to(array, [largest[label] for label in own]) for own, array in zip(inputs, arrays, strict=True)
        ]
        out = functions.einsum(subscripts, *arrays).numpy()
        np.testing.assert_allclose(out, np.einsum(subscripts, *full), rtol=1e-11, atol=1e-11, err_msg=subscripts)
