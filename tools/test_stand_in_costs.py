"""The stand-in for CuPy counts what CuPy launches: operations, transfers, bytes and floating-point operations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend
from cuslayer.kernels.cuda import compile as source
from tests.support.recorder import SURROGATE, surrogate
from tools.fake_cupy import captured, counted, strict

N = 6 * 4  # bytes of the arrays x and y (2, 3) of float32


@pytest.fixture(params=[True, False], ids=["computed", "counted only"])
def cupy(request: pytest.FixtureRequest) -> Iterator[Any]:
    with strict(compute=request.param):
        yield backend.cupy()


def host(*shape: int, dtype: Any = np.float32) -> np.ndarray[Any, Any]:
    return np.arange(np.prod(shape), dtype=dtype).reshape(shape)


Row = tuple[str, str, int, int]

# Work on x, y (2, 3) and row (3,) of float32: name, kind, bytes read and written of each operation.
WORK: dict[str, tuple[Callable[[Any, Any, Any, Any], Any], list[Row]]] = {
    "sum of two": (lambda cupy, x, y, row: x + y, [("add", "kernel", 2 * N, N)]),
    "square": (lambda cupy, x, y, row: x * x, [("mul", "kernel", N, N)]),
    "broadcast": (lambda cupy, x, y, row: x * row, [("mul", "kernel", N + 12, N)]),
    "broadcast view": (lambda cupy, x, y, row: cupy.broadcast_to(row, (5, 3)) + 1.0, [("add", "kernel", 12, 60)]),
    "number": (lambda cupy, x, y, row: 2.0 * x > 1, [("rmul", "kernel", N, N), ("gt", "kernel", N, 6)]),
    "in place": (lambda cupy, x, y, row: x.__iadd__(y), [("iadd", "kernel", 2 * N, N)]),
    "in place on a part": (lambda cupy, x, y, row: x[1:].__iadd__(y[1:]), [("iadd", "kernel", N, N // 2)]),
    "in place with an overlap": (
        lambda cupy, x, y, row: x[1:].__iadd__(x[1:, :1]),
        [("copy", "copy", 4, 4), ("iadd", "kernel", 16, 12)],
    ),
    "function": (lambda cupy, x, y, row: cupy.exp(x), [("exp", "kernel", N, N)]),
    "views": (lambda cupy, x, y, row: (x.reshape(-1), x.T, x[1:, ::2], x[None], x.ravel(), cupy.expand_dims(x, 0)), []),
    "contiguous already": (lambda cupy, x, y, row: (cupy.ascontiguousarray(x), cupy.asarray(x)), []),
    "contiguous": (lambda cupy, x, y, row: cupy.ascontiguousarray(x.T), [("copy", "copy", N, N)]),
    "reshape that copies": (lambda cupy, x, y, row: x.T.reshape(-1), [("copy", "copy", N, N)]),
    "copy": (lambda cupy, x, y, row: x.copy(), [("copy", "copy", N, N)]),
    "type": (lambda cupy, x, y, row: x.astype(np.float64), [("astype", "kernel", N, 2 * N)]),
    "same type": (lambda cupy, x, y, row: x.astype(np.float32, copy=False), []),
    "zeros": (lambda cupy, x, y, row: cupy.zeros_like(x), [("fill", "memset", 0, N)]),
    "ones": (lambda cupy, x, y, row: cupy.ones((2, 3), np.float32), [("fill", "kernel", 0, N)]),
    "empty": (lambda cupy, x, y, row: cupy.empty((2, 3), np.float32), []),
    "assigned zero": (lambda cupy, x, y, row: x.__setitem__(..., 0), [("fill", "memset", 0, N)]),
    "zeros with gaps": (lambda cupy, x, y, row: x.__setitem__((..., 1), 0), [("fill", "kernel", 0, 8)]),
    "assigned": (lambda cupy, x, y, row: x.__setitem__(0, row), [("copy", "copy", 12, 12)]),
    "assigned to itself": (lambda cupy, x, y, row: x.__setitem__(0, x[0]), []),
    "copyto": (lambda cupy, x, y, row: cupy.copyto(x, row), [("copy", "copy", 12, N)]),
    "joined": (lambda cupy, x, y, row: cupy.concatenate([x, y], axis=1), 2 * [("copy", "copy", N, N)]),
    "many joined": (
        lambda cupy, x, y, row: cupy.stack([row] * 9, axis=0),
        [("upload", "upload", 0, 72), ("concatenate", "copy", 12, 9 * 12)],
    ),
    "many of other sizes joined": (
        lambda cupy, x, y, row: cupy.concatenate([x] * 8 + [x[1:]], axis=0),
        [
            *[("upload", "upload", 0, 72), ("upload", "upload", 0, 72), ("upload", "upload", 0, 144)],
            ("concatenate", "copy", N + N // 2, 8 * N + N // 2),
        ],
    ),
    "many of other types joined": (
        lambda cupy, x, y, row: cupy.concatenate([row] * 8 + [row.astype(np.float64)], axis=0),
        [("astype", "kernel", 12, 24), *8 * [("copy", "copy", 12, 24)], ("copy", "copy", 24, 24)],
    ),
    "chosen": (
        lambda cupy, x, y, row: cupy.where(x > 0, x, 0.0),
        [("gt", "kernel", N, 6), ("where", "kernel", N + 6, N)],
    ),
    "chosen by numbers": (
        lambda cupy, x, y, row: cupy.where(x, x, y),
        [("astype", "kernel", N, 6), ("where", "kernel", 2 * N + 6, N)],
    ),
    "whole sum": (lambda cupy, x, y, row: x.sum(), [("sum", "kernel", N, 4)]),
    "sum": (lambda cupy, x, y, row: x.sum(axis=0), [("sum", "kernel", N, 12)]),
    "argmax": (lambda cupy, x, y, row: x.argmax(axis=1), [("argmax", "kernel", N, 16)]),
    "cumulative sum": (lambda cupy, x, y, row: x.cumsum(axis=1), [("copy", "copy", N, N), ("cumsum", "kernel", N, N)]),
    "product": (lambda cupy, x, y, row: x @ y.T, [("matmul", "product", 2 * N, 16)]),
    "product of types": (
        lambda cupy, x, y, row: (x > 0) @ y.T,
        [("gt", "kernel", N, 6), ("astype", "kernel", 6, N), ("matmul", "product", 2 * N, 16)],
    ),
    "product of a part": (
        lambda cupy, x, y, row: x @ cupy.zeros((3, 4, 2), np.float32)[..., 0],
        [("fill", "memset", 0, 96), ("copy", "copy", 48, 48), ("matmul", "product", N + 48, 32)],
    ),
    "product of vectors": (lambda cupy, x, y, row: row @ row, [("mul", "kernel", 12, 12), ("sum", "kernel", 12, 4)]),
    "index array": (
        lambda cupy, x, y, row: x[np.array([1, 1, 0])],
        [("upload", "upload", 0, 24), ("take", "kernel", N + 24, 36)],
    ),
    "read": (lambda cupy, x, y, row: cupy.asnumpy(x), [("readback", "readback", N, 0)]),
    "read a number": (lambda cupy, x, y, row: x[0, 0].item(), [("readback", "readback", 4, 0)]),
    "read columns": (lambda cupy, x, y, row: x.T.tolist(), [("copy", "copy", N, N), ("readback", "readback", N, 0)]),
    "from the host": (lambda cupy, x, y, row: cupy.asarray(host(4)), [("upload", "upload", 0, 16)]),
    "a number from the host": (lambda cupy, x, y, row: cupy.asarray(2.0), [("fill", "kernel", 0, 8)]),
    "nothing": (
        lambda cupy, x, y, row: (x[:0] + 1.0, x[:0].copy(), cupy.asarray(host(0)), x[:0].tolist(), cupy.zeros(0)),
        [],
    ),
    "own kernel": (
        lambda cupy, x, y, row: source.kernel("surrogate_adjoint", np.dtype(np.float32), SURROGATE)(
            6, **surrogate(g=x, u=x, y=y, size=6)
        ),
        [("surrogate_adjoint", "own", N, N)],
    ),
}


@pytest.mark.parametrize("name", WORK)
def test_what_is_counted(name: str, cupy: Any) -> None:
    work, expected = WORK[name]
    x, y, row = cupy.asarray(host(2, 3)), cupy.asarray(host(2, 3)), cupy.asarray(host(3))
    with counted() as costs:
        work(cupy, x, y, row)
    assert [(o.name, o.kind, o.bytes_read, o.bytes_written) for o in costs.operations] == expected


def test_totals(cupy: Any) -> None:
    with counted() as costs:
        x = cupy.asarray(host(8, 4))
        y = x @ cupy.zeros((4, 2), np.float32)
        y += 1.0
        y.sum().item()
    assert (costs.launches, costs.products, costs.uploads, costs.readbacks) == (4, 1, 1, 1)
    assert (costs.bytes_up, costs.bytes_down, costs.flops) == (128, 4, 2 * 8 * 4 * 2)
    assert costs.bytes_read == (128 + 32) + 64 + 64
    assert costs.bytes_written == 32 + 64 + 64 + 4
    assert costs.moved == costs.bytes_read + costs.bytes_written
    assert costs.own() == {}
    assert costs.count("memset", "product") == 2


def test_phases_and_layers(cupy: Any) -> None:
    x = cupy.zeros(3)
    with counted() as costs:
        x + 1.0
        with costs.phase("forward", layer="0 Dense"):
            x + 1.0
            with costs.phase(layer="1 SRM"):
                x * 2.0
            with costs.phase("loss"):
                x.sum()
        with pytest.raises(ValueError), costs.phase("forward"):
            raise ValueError
        x + 1.0
    assert [(o.phase, o.layer) for o in costs.operations] == [
        ("", ""),
        ("forward", "0 Dense"),
        ("forward", "1 SRM"),
        ("loss", "0 Dense"),
        ("", ""),
    ]
    parts = costs.by("phase")
    assert {key: part.launches for key, part in parts.items()} == {("",): 2, ("forward",): 2, ("loss",): 1}
    assert list(costs.by("layer", "name")) == [("", "add"), ("0 Dense", "add"), ("1 SRM", "mul"), ("0 Dense", "sum")]


def test_a_graph_counts_at_its_launches(cupy: Any) -> None:
    x = cupy.asarray(host(3))
    with counted() as costs:
        with captured() as graph:
            with costs.phase("forward"):
                y = x * 2.0
            cupy.copyto(x, y)
            cupy.asarray(1.0)
        assert costs.operations == []
        graph.launch(), graph.launch()
    assert [(o.name, o.phase) for o in costs.operations] == 2 * [("mul", "forward"), ("copy", ""), ("fill", "")]
    assert all(o.graph for o in costs.operations)
    graph.launch()
    assert costs.launches == 6


def test_updated_arrays_count_twice(cupy: Any) -> None:
    x, y, z = (cupy.ones(10, np.float32) for _ in range(3))
    kernel = source.kernel("clip_values", np.dtype(np.float32))
    # An array that is given twice counts once.
    arguments = {"g": [x, None, x], "y": [y, None, z], "limit": 0.5}
    with counted(updated={"clip_values": {"y"}}) as inner, counted() as costs:
        kernel.launch((3,), (256,), **arguments)
    (operation,) = costs.operations
    assert (operation.bytes_read, operation.bytes_written) == (40, 80)
    assert (operation.grid, operation.block, operation.shared) == ((3,), (256,), 0)
    assert costs.own() == {"clip_values": 1}
    with counted(updated={"clip_values": {"y"}}) as costs:
        kernel.launch((3,), (256,), **arguments)
    assert costs.operations[0].bytes_read == 120
    assert inner.launches == 1


@pytest.mark.parametrize("notation", ["6-4-3", "6x6x2-3c3-2a-3"])
def test_counting_only_counts_the_same(notation: str) -> None:
    found = []
    for compute in (True, False):
        with strict(compute=compute) as emulator, counted() as costs:
            cs.use("cuda")
            cs.seed(0)
            net = cs.Network(notation, cs.SRM())
            x = np.random.default_rng(0).random((10, 2, *net.input_shape)) < 0.3
            optimizer = cs.Adam(net.parameters(), amsgrad=True)
            cs.SpikeCountLoss(cs.SRM(), true=10)(net(x), [0, 2]).backward()
            optimizer.step()
            found.append((costs.operations, emulator.launches))
            cs.use("cpu")
    (computed, ran), (only, noted) = found
    assert computed == only
    assert ran == noted
    assert {o.kind for o in only} >= {"kernel", "own", "upload"}
