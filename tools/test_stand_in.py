"""The stand-in for CuPy rejects what CuPy rejects, and its results differ from NumPy's where CuPy's do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from cuslayer import backend
from cuslayer.kernels.cuda import compile as source
from tools.fake_cupy import FUNCTIONS, METADATA, METHODS, OutOfMemoryError, captured, strict

SINGLE = np.float32
COPY = """
extern "C" __global__ void copy(const real *x, real *y, long long n)
{
    GRID_STRIDE(i, n) y[i] = x[i];
}
"""
TEXT = source.with_header("copy.cu", COPY, np.dtype(SINGLE))


@pytest.fixture(autouse=True)
def cupy() -> Iterator[Any]:
    with strict():
        yield backend.cupy()


def array(*numbers: float, dtype: Any = SINGLE) -> Any:
    return backend.cupy().asarray(np.array(numbers, dtype))


@pytest.mark.parametrize(
    "dtype", [object, "U3", "S3", np.longdouble, [("a", "f4"), ("b", "i4")], "M8[s]", np.clongdouble]
)
def test_types_that_cupy_has_not_are_refused(dtype: Any, cupy: Any) -> None:
    host = np.zeros(2, dtype)
    for make in (
        lambda: cupy.asarray(host),
        lambda: cupy.empty(2, dtype),
        lambda: cupy.zeros(2, dtype),
        lambda: array(1.0).astype(dtype),
        lambda: array(1.0).sum(dtype=dtype),
    ):
        with pytest.raises(ValueError, match=r"^Unsupported dtype"):
            make()


@pytest.mark.parametrize("number", [np.longdouble(2), "2", None, object(), np.ones(1), [1.0]])
def test_operands_that_cupy_does_not_take_are_refused(number: Any) -> None:
    x = array(1.0, 2.0)
    for work in (lambda: x + number, lambda: x == number, lambda: backend.cupy().maximum(x, number)):
        with pytest.raises(TypeError, match=r"^Unsupported type"):
            work()
    with pytest.raises(TypeError):
        x += number


def test_an_index_array_out_of_range_wraps_around(cupy: Any) -> None:
    x = cupy.asarray(np.arange(6.0).reshape(2, 3))
    assert x[:, np.array([3, -4, 2])].tolist() == [[0, 2, 2], [3, 5, 5]]
    assert x[[5, 0], [7, 1]].tolist() == [4, 1]
    assert x[None, ..., cupy.asarray(np.array(4))].tolist() == [[1, 4]]
    x[np.array([2])] = 9.0
    assert x.tolist() == [[9, 9, 9], [3, 4, 5]]
    for index in (2, (0, 3), np.int64(-3)):
        with pytest.raises(IndexError):
            x[index]
    with pytest.raises(IndexError, match="non-empty take from an empty"):
        cupy.zeros((0, 2))[np.array([0])]
    with pytest.raises(IndexError, match="integer or boolean"):
        x[np.array([0.0])]
    with pytest.raises(IndexError, match="too many indices"):
        x[0, 0, np.array([0])]


def test_take_writes_to_an_array_that_fits(cupy: Any) -> None:
    x, chosen = cupy.asarray(np.arange(6.0).reshape(2, 3)), cupy.asarray(np.array([2, -3, 0, 4]))
    out = cupy.empty((2, 4), np.float64)
    assert x.take(chosen, axis=1, out=out) is out
    assert out.tolist() == [[2, 0, 0, 1], [5, 3, 3, 4]]
    with pytest.raises(TypeError, match="Output dtype mismatch"):
        x.take(chosen, axis=1, out=cupy.empty((2, 4), np.float32))
    with pytest.raises(ValueError, match="Output shape mismatch"):
        x.take(chosen, axis=0, out=out)


def test_masks_and_empty_lists(cupy: Any) -> None:
    host = np.arange(6.0).reshape(2, 3)
    x, mask = cupy.asarray(host), host > 1
    assert x[mask].tolist() == host[mask].tolist()
    assert x[np.array([True, False])].tolist() == host[:1].tolist()
    assert x[[]].shape == (0, 3)
    x[mask] = 0.0
    assert x.tolist() == [[0, 1, 0], [0, 0, 0]]


def test_scattered_additions_have_another_order_each_time(cupy: Any) -> None:
    values = array(1e8, 1.0, -1e8, 3.0, 1e-3)
    index, found = np.zeros(5, np.int64), set()
    for _ in range(20):
        x = cupy.zeros(2, SINGLE)
        cupy.add.at(x, index, values)
        assert x[1].item() == 0
        found.add(x[0].item())
    assert len(found) > 1
    x = cupy.zeros((2, 2))
    cupy.add.at(x, (slice(None), np.array([1, 3])), 2.0)
    assert x.tolist() == [[0, 4], [0, 4]]
    with pytest.raises(TypeError, match=r"^scatter_add only supports"):
        cupy.add.at(cupy.zeros(2, np.int64), index, 1)


def test_assignments_to_one_element_have_no_order(cupy: Any) -> None:
    found = set()
    for _ in range(20):
        x = cupy.zeros(1)
        x[np.zeros(3, int)] = array(1.0, 2.0, 3.0, dtype=float)
        found.add(x.item())
    assert len(found) > 1


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_cumulative_sums(axis: int | None, cupy: Any) -> None:
    host = np.random.default_rng(0).random((3, 4, 5))
    x = cupy.asarray(host).cumsum(axis=axis)
    np.testing.assert_allclose(cupy.asnumpy(x), host.cumsum(axis))
    assert x.flags.c_contiguous == (axis != 1)
    assert cupy.asarray(host > 0.5).cumsum(axis=0).dtype == np.int64
    assert cupy.zeros((2, 0)).cumsum(axis=1).shape == (2, 0)


def test_results_are_in_c_order(cupy: Any) -> None:
    x = cupy.asarray(np.ones((2, 3))).T
    assert not x.flags.c_contiguous
    assert (x + 1.0).flags.c_contiguous
    assert not x.astype(SINGLE).flags.c_contiguous
    assert cupy.ascontiguousarray(x).flags.c_contiguous
    assert cupy.asarray(np.ones((3, 2)).T).flags.f_contiguous
    assert cupy.asarray(np.ones((4, 6))[::2, ::2]).flags.c_contiguous
    assert cupy.ascontiguousarray(cupy.zeros(())).shape == (1,)


def test_an_operand_that_overlaps_is_copied_first() -> None:
    x = array(1.0, 2.0, 3.0)
    x[1:] += x[:-1]
    assert x.tolist() == [1, 3, 5]
    with pytest.raises(ValueError, match="non-broadcastable"):
        x[:1] += x


def test_a_second_device(cupy: Any) -> None:
    here = array(1.0, 2.0)
    with cupy.cuda.Device(1):
        there = array(3.0, 4.0)
        assert (cupy.cuda.runtime.getDevice(), cupy.cuda.Device().id) == (1, 1)
        assert there[1:].data.device_id == 1
        for work in (lambda: here + there, lambda: here.sum(), lambda: here.astype(np.float64)):
            with pytest.raises(ValueError, match=r"array device = 0 while current = 1$"):
                work()
        moved = cupy.asarray(here)
        assert (moved + there).tolist() == [4, 6]
    assert cupy.cuda.runtime.getDevice() == 0
    assert there.tolist() == [3, 4]
    with pytest.raises(ValueError, match=r"array device = 1 while current = 0$"):
        here[...] = there
    kernel = cupy.RawModule(code=TEXT).get_function("copy")
    with pytest.raises(ValueError, match=r"array device = 1 while current = 0$"):
        kernel((1,), (32,), (there, here, np.int64(2)))
    with pytest.raises(RuntimeError, match=r"cudaErrorInvalidDevice"):
        cupy.cuda.Device(2)


def test_a_kernel_of_the_library_notices_another_device(cupy: Any) -> None:
    with cupy.cuda.Device(1):
        there = array(1.0, 2.0)
    with pytest.raises(ValueError, match=r"^clip_values: g0 is on device 1, the kernel runs on device 0$"):
        source.kernel("clip_values", np.dtype(SINGLE)).launch((1,), (256,), g=[there], y=[there], limit=1.0)


def test_memory_ends() -> None:
    with strict(memory=10_000):
        cupy = backend.cupy()
        assert cupy.cuda.runtime.memGetInfo() == (10_000, 10_000)
        x = cupy.zeros(1000, SINGLE)
        assert cupy.cuda.runtime.memGetInfo() == (10_000 - 4096, 10_000)
        part = x[10:]
        with pytest.raises(cupy.cuda.memory.OutOfMemoryError, match=r"allocating 8,192 bytes .* limit set to: 10,000"):
            cupy.asarray(np.zeros(1000))
        y = x + 1.0
        with pytest.raises(OutOfMemoryError):
            y * 2.0
        with cupy.cuda.Device(1):
            cupy.zeros(2000, SINGLE)
        del x, y
        with pytest.raises(MemoryError):
            cupy.empty(2000, SINGLE)  # a view keeps the memory
        del part
        cupy.empty(2000, SINGLE)
    backend.cupy().zeros(100_000)


def test_freed_memory_is_overwritten_reused_and_given_back(cupy: Any) -> None:
    x = cupy.zeros(1000, SINGLE)
    place, part = x.data.ptr, x[10:]
    del x
    assert part.sum().item() == 0  # a view keeps the memory
    stale = part.host
    del part
    assert np.isnan(stale).all()
    other = cupy.cuda.Stream()
    with other:
        assert cupy.empty(1000, SINGLE).data.ptr != place
    pool = cupy.get_default_memory_pool()
    cupy.zeros(300)
    assert pool.free_bytes() == 2560
    x = cupy.empty(300)
    assert pool.free_bytes() == 0
    assert np.isnan(cupy.asnumpy(x)).all()


def test_work_of_another_stream_is_done_when_something_waits_for_it(cupy: Any) -> None:
    x, stream, legacy = array(1.0, 2.0), cupy.cuda.Stream(non_blocking=True), cupy.cuda.get_current_stream()

    def doubled() -> Any:
        with stream:
            x[...] = x * 2.0
            return stream.record()

    doubled()
    assert x.tolist() == [1, 2]
    stream.synchronize()
    assert x.tolist() == [2, 4]
    event = doubled()
    doubled()
    legacy.wait_event(event)
    assert x.tolist() == [4, 8]
    cupy.cuda.Device().synchronize()
    assert x.tolist() == [8, 16]
    with stream:
        x[...] = x + 1.0
        assert x.tolist() == [9, 17]
    with cupy.cuda.Stream():
        y = x * 2.0
    assert (y + 0.0).tolist() == [18, 34]  # the default stream waits for streams that are not non_blocking


def test_a_capture_records_the_work_of_its_stream_alone(cupy: Any) -> None:
    x, stream = array(1.0, 2.0), cupy.cuda.Stream(non_blocking=True)
    with pytest.raises(RuntimeError, match="IllegalState"):
        stream.end_capture()
    stream.begin_capture()
    x *= 2.0
    assert x.tolist() == [2, 4]
    stream.end_capture().launch()
    assert x.tolist() == [2, 4]
    for wait in (cupy.cuda.Device().synchronize, stream.synchronize):
        stream.begin_capture()
        with pytest.raises(RuntimeError, match="StreamCaptureUnsupported"):
            wait()
        with pytest.raises(RuntimeError, match="StreamCaptureInvalidated"):
            stream.end_capture()
    for work in (lambda: x.tolist(), lambda: x[np.array([True, False])], lambda: x.set(np.zeros(2, SINGLE))):
        stream.begin_capture()
        with stream, pytest.raises(RuntimeError, match="StreamCaptureUnsupported"):
            work()
        with pytest.raises(RuntimeError, match="StreamCaptureInvalidated"):
            stream.end_capture()


def test_a_graph_needs_the_memory_of_its_capture(cupy: Any) -> None:
    x = array(1.0, 2.0)
    with captured() as graph:
        x[...] = (x + 1.0) * 2.0
    graph.launch()
    assert x.tolist() == [4, 6]
    del x
    with pytest.raises(RuntimeError, match="IllegalAddress"):  # of an array that was there before
        graph.launch()
    x, stream = array(1.0, 2.0), cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        x[...] = x + 1.0
        graph = stream.end_capture()
    graph.launch()
    cupy.zeros(1000)
    with pytest.raises(RuntimeError, match="IllegalAddress"):  # the default pool has given it back
        graph.launch()


@pytest.mark.parametrize("arguments", [{"code": TEXT, "options": ["-w"]}, {"code": None}, {"code": b"text"}])
def test_arguments_of_a_module_have_their_type(arguments: dict[str, Any], cupy: Any) -> None:
    with pytest.raises(TypeError, match="has incorrect type"):
        cupy.RawModule(**arguments)


@pytest.mark.parametrize(
    ("grid", "block", "shared"),
    [((0,), (32,), 0), ((1,), (1025,), 0), ((1,), (32, 33), 0), ((1, 65536), (1,), 0), ((1,), (32,), (48 << 10) + 1)],
)
def test_a_launch_within_limits(grid: Any, block: Any, shared: int, cupy: Any) -> None:
    kernel = cupy.RawModule(code=TEXT).get_function("copy")
    x, y = array(1.0, 2.0), cupy.empty(2, SINGLE)
    with pytest.raises(cupy.cuda.driver.CUDADriverError, match="INVALID_VALUE"):
        kernel(grid, block, (x, y, np.int64(2)), shared_mem=shared)
    with pytest.raises(TypeError, match=r"^Unsupported type"):
        kernel((1,), (32,), (np.ones(2, SINGLE), y, np.int64(2)))


def test_more_shared_memory_must_be_asked_for() -> None:
    with strict(compute=False) as emulator:
        cupy = backend.cupy()
        kernel = cupy.RawModule(code=TEXT).get_function("copy")
        x, y = array(1.0, 2.0), cupy.empty(2, SINGLE)
        most = cupy.cuda.Device().attributes["MaxSharedMemoryPerBlockOptin"]
        with pytest.raises(cupy.cuda.driver.CUDADriverError, match="INVALID_VALUE"):
            kernel((1,), (32,), (x, y, np.int64(2)), shared_mem=100_000)
        with pytest.raises(cupy.cuda.driver.CUDADriverError, match="INVALID_VALUE"):
            kernel.max_dynamic_shared_size_bytes = most + 1
        kernel.max_dynamic_shared_size_bytes = most
        kernel((1,), (32,), (x, y, np.int64(2)), shared_mem=100_000)
        assert emulator.launches == ["copy"]


def test_a_graph_reads_indices_and_values_at_its_launch(cupy: Any) -> None:
    x, index = array(1.0, 2.0, 3.0), cupy.asarray(np.array([0, 1]))
    with captured() as graph:
        y = x[index] * 2.0
        x[index] = 5.0
        cupy.add.at(x, index, y)
        total = x @ x
    assert x.tolist() == [1, 2, 3]
    index[...] = cupy.asarray(np.array([2, 1]))
    graph.launch()
    assert y.tolist() == [6, 4]
    assert x.tolist() == [1, 9, 11]
    assert total.item() == 203


@pytest.mark.parametrize(
    "work",
    [
        lambda cupy, x: x.T @ x,
        lambda cupy, x: x[0] @ x.T,
        lambda cupy, x: x[None] @ x.T[None],
        lambda cupy, x: cupy.stack([x, x], axis=1) @ x.T,
        lambda cupy, x: cupy.concatenate([x, x.T[:, :2]], axis=-1),
        lambda cupy, x: cupy.concatenate([x] * 12, axis=1),
        lambda cupy, x: cupy.stack([x, x > 0], axis=-1),
        lambda cupy, x: cupy.where(x > 0, x, -1.0),
        lambda cupy, x: x.clip(0.0, 0.5),
        lambda cupy, x: x[::-1, 1:].sum(axis=(0,), keepdims=True),
        lambda cupy, x: x.argmax(axis=1),
        lambda cupy, x: (x > 0).any(),
        lambda cupy, x: x[1:1].sum(axis=0),
        lambda cupy, x: x @ x.T[:, :0],
        lambda cupy, x: abs(-x).swapaxes(0, 1).reshape(-1),
        lambda cupy, x: 2.0 / (x + 3.0) ** 2,
    ],
)
def test_results_are_numpys(work: Callable[[Any, Any], Any], cupy: Any) -> None:
    host = np.random.default_rng(1).standard_normal((3, 3))
    expected, found = work(np, host), work(cupy, cupy.asarray(host))
    assert (found.shape, found.dtype) == (np.shape(expected), np.asarray(expected).dtype)
    np.testing.assert_allclose(cupy.asnumpy(found), expected, rtol=1e-14)


def test_what_the_stand_in_offers_cupy_has() -> None:
    """CuPy can be imported without a driver, in a process of its own, where nothing stands in for it."""
    names = [*FUNCTIONS, "add.at", "asarray", "asnumpy", "copyto", "empty", "RawModule.get_function"]
    names += [f"ndarray.{name}" for name in (*METADATA, *METHODS, "T", "base", "data", "item", "tolist")]
    names += [f"cuda.runtime.{name}" for name in vars(backend.cupy().cuda.runtime)]
    names += [f"cuda.{name}" for name in vars(backend.cupy().cuda) if name != "nccl"]  # needs its library
    names += ["cuda.Stream.begin_capture", "cuda.Stream.end_capture", "cuda.Graph.launch", "cuda.MemoryPool.malloc"]
    names += ["cuda.Stream.record", "cuda.Stream.wait_event", "cuda.Event.record"]
    code = (
        "import sys; from operator import attrgetter\n"
        "try: import cupy\n"
        "except ImportError as problem: sys.exit(f'{problem}')\n"
        "attrgetter(*sys.argv[1:])(cupy); print('all')"
    )
    found = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, check=False)
    if found.returncode and "AttributeError" not in found.stderr:
        pytest.skip(f"CuPy cannot be imported: {found.stderr.strip()}")
    assert found.stdout == "all\n", found.stderr
