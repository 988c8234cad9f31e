"""Calls of CUDA kernels: arguments are bound by name, and each that does not fit is rejected by its name."""

import re

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend
from cuslayer.kernels.cuda import compile as source
from cuslayer.kernels.step.print_cuda import header
from cuslayer.surrogates import EXPONENTIAL
from tests.support.recorder import SURROGATE, Recorder, surrogate
from tools.emulator.driver import emulation


@pytest.fixture
def driver():
    """A driver that compiles nothing and records its calls."""
    return Recorder()


@pytest.fixture
def library(driver):
    """The library's kernels by that driver."""
    return source.Library(driver)


SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)


def test_a_signature_is_read_without_its_comments():
    found = source.signatures(
        """
        extern "C" __global__ void one(
            const real *__restrict__ x,  // (steps, columns), an array
            bool* s,                     /* written, (a, b) */
            const long long *delay,      // (2, steps x columns), or empty
            long long steps,
            real theta,                  // threshold
            bool keep)
        {
        }
        """
    )
    assert [(p.name, p.kind, p.array) for p in found["one"]] == [
        ("x", "real", True),
        ("s", "bool", True),
        ("delay", "long long", True),
        ("steps", "long long", False),
        ("theta", "real", False),
        ("keep", "bool", False),
    ]
    assert [p.optional for p in found["one"][:3]] == [False, False, True]
    assert [p.shape for p in found["one"][:3]] == [("steps", "columns"), (), ("2", "steps x columns")]


HEIGHT = "surrogate_adjoint: of.height does not fit float32"
STRIDED = np.zeros((4, 6), np.float32)[:, ::2]


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"g": np.zeros((4, 3))}, TypeError, "surrogate_adjoint: g is float64, the kernel wants float32"),
        ({"g": [0.0]}, TypeError, "surrogate_adjoint: g is builtins.list, the kernel wants numpy.ndarray"),
        ({"g": STRIDED}, ValueError, "surrogate_adjoint: g must be C-contiguous, got strides (24, 8) of shape (4, 3)"),
        ({"size": 4.0}, TypeError, "surrogate_adjoint: size must be an integer, got float"),
        ({"height": 1e39}, ValueError, f"{HEIGHT}, got 1e+39"),
        ({"height": 10**400}, ValueError, f"{HEIGHT}, got an integer past every float"),
    ],
)
def test_an_argument_that_does_not_fit_is_refused_by_name(library, driver, changed, error, message):
    with pytest.raises(error) as raised:
        library.kernel("surrogate_adjoint", SINGLE, SURROGATE)(3, **surrogate(**changed))
    assert str(raised.value) == message
    assert driver.launches == []


def test_sizes_are_read_from_shapes(library, driver):
    images = np.zeros((4, 3, 5, 2), np.float32)
    for x, columns in ((images[..., 0, 0].copy(), 3), (images, 30), (images[:0], 30), (images, 30)):
        library.kernel("shift", SINGLE)(3, x=x, y=x, delay=np.zeros(columns, np.int64))
        sizes = driver.launches[-1][3][3:]
        assert sizes == (len(x), columns)
        assert [type(size) for size in sizes] == [np.int64, np.int64]
    parts, sums = np.zeros((5, 6), np.float32), np.zeros((2, 3), np.float32)
    for given in ({}, {"count": 5, "size": 6}):
        library.kernel("add_parts", SINGLE)(3, parts=parts, sums=sums, **given)
        assert driver.launches[-1][3][2:] == (5, 6)
    with pytest.raises(TypeError, match=r"^add_parts: count must be an integer, got NoneType$"):
        library.kernel("add_parts", SINGLE)(3, parts=parts.ravel(), sums=sums)


@pytest.mark.parametrize("given", [{}, {"spikes": None, "columns": None}])
def test_an_array_that_may_be_empty_may_be_missing(library, driver, given):
    x, state = np.zeros((4, 3), np.float32), np.zeros(2, np.int64)
    arguments = {"numbers": x, "scale": x[0], "y": x, "state": state, "arrived": np.zeros(1, np.uint32), **given}
    numbers = {"silent": 1, "factor": 2.0, "chunk": 4, "fired": False}
    library.kernel("dropout", SINGLE)(3, **arguments, **numbers)
    _, _, spikes, *others = driver.launches[-1][3]
    assert (spikes.shape, spikes.dtype, others[0] is x) == ((0, 0), np.bool_, True)
    assert others[-4:-2] == [4, 3]
    with pytest.raises(TypeError, match=r"^dropout: y is builtins\.NoneType, the kernel wants numpy\.ndarray$"):
        library.kernel("dropout", SINGLE)(3, **arguments | {"y": None}, **numbers)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"y": np.zeros((4, 2), np.float32)}, "shift: y (steps, columns) must have 12 elements, got shape (4, 2)"),
        ({"steps": 5}, "shift: x (steps, columns) must have 15 elements, got shape (4, 3)"),
        ({"delay": np.zeros(4, np.int64)}, "shift: delay (columns) must have 3 elements, got shape (4,)"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused_by_name(library, driver, changed, message):
    x = np.zeros((4, 3), np.float32)
    for _ in range(2):
        with pytest.raises(ValueError) as raised:
            library.kernel("shift", SINGLE)(3, **{"x": x, "y": x, "delay": np.zeros(3, np.int64), **changed})
        assert str(raised.value) == message
    assert driver.launches == []


def test_a_missing_or_unknown_name_is_refused(library, driver):
    names = "g, u, y, size, of"
    fitting = surrogate()
    less = {name: x for name, x in fitting.items() if name not in ("y", "of")}
    for arguments, found in (
        (less, "lack y, of"),
        (fitting | {"theta": 1, "x": 1}, "have unknown theta, x"),
        (less | {"height": 1, "cuts": 1}, "lack y, of and have unknown height, cuts"),
        ({}, "lack g, u, y, of"),
    ):
        with pytest.raises(TypeError) as raised:
            library.kernel("surrogate_adjoint", SINGLE, SURROGATE)(3, **arguments)
        assert str(raised.value) == f"surrogate_adjoint: arguments {found}; the kernel wants {names}"
    assert driver.launches == []


def test_names_bind_in_any_order(library, driver):
    kernel = library.kernel("surrogate_adjoint", SINGLE, SURROGATE)
    fitting = surrogate(y=np.zeros((4, 3), np.float32))
    kernel(3, **fitting)
    kernel(3, **dict(reversed(fitting.items())))
    first, then = (launch[3] for launch in driver.launches)
    assert first[0] is then[0] is fitting["g"]
    assert first[2] is then[2] is fitting["y"]
    assert first[3] == then[3] == 12
    assert first[4].tolist() == then[4].tolist() == (SINGLE.type(0.9).item(), 1.0, 1.0)


def test_a_bool_is_no_number(driver):
    (parameters,) = source.signatures('extern "C" __global__ void k(bool keep) {}').values()
    kernel = source.Kernel("k", parameters, driver._launch("k"), driver, SINGLE)
    with pytest.raises(TypeError, match=r"^k: keep must be a bool, got int$"):
        kernel(1, keep=1)
    kernel(1, keep=True)
    assert type(driver.launches[0][3][0]) is np.bool_


def test_several_arrays_are_one_argument(driver):
    code = 'extern "C" __global__ void k(Arrays<const real> x, Arrays<unsigned> y, long long n) {}'
    (parameters,) = source.signatures(code).values()
    assert [(p.name, p.kind, p.array, p.table) for p in parameters] == [
        *(("x", "real", False, True), ("y", "unsigned", False, True), ("n", "long long", False, False))
    ]
    kernel = source.Kernel("k", parameters, driver._launch("k"), driver, SINGLE)
    x, words = [np.zeros((2, 3), np.float32), None, np.zeros(0, np.float32)], [np.zeros(4, np.uint32)]
    kernel(1, x=x, y=words, n=1)
    first, second, number = driver.launches[0][3]
    assert (first.shape, first.itemsize, number) == ((1,), 16 * source.ARRAYS, 1)
    assert first["at"][0].tolist() == [id(x[0]), 0, id(x[2]), *[0] * (source.ARRAYS - 3)]
    assert first["size"][0].tolist() == [6, *[0] * (source.ARRAYS - 1)]
    assert (second["at"][0, 0], second["size"][0, 0]) == (id(words[0]), 4)
    for wrong, message in (
        (np.zeros(2), "is float64, the kernel wants float32"),
        (3, "is builtins.int, the kernel wants numpy.ndarray"),
    ):
        with pytest.raises(TypeError, match=rf"^k: x1 {message}$"):
            kernel(1, x=[x[0], wrong], y=words, n=1)


def test_an_array_on_another_device_is_refused(library, driver):
    far = np.zeros((4, 3), np.float32)
    driver.places[id(far)] = 1
    with pytest.raises(ValueError, match=r"^surrogate_adjoint: y is on device 1, the kernel runs on device 0$"):
        library.kernel("surrogate_adjoint", SINGLE, SURROGATE)(3, **surrogate(y=far))
    driver.current = 1
    with pytest.raises(ValueError, match=r"^surrogate_adjoint: g is on device 0, the kernel runs on device 1$"):
        library.kernel("surrogate_adjoint", SINGLE, SURROGATE)(3, **surrogate(y=far))


def test_numbers_arrive_in_the_exact_type(library, driver):
    for dtype in (SINGLE, DOUBLE):
        x = np.zeros((4, 3), dtype)
        given = surrogate(g=x, u=x, y=x, size=np.int32(12), theta=np.inf, height=np.float64(0.1), steep=1)
        library.kernel("surrogate_adjoint", dtype, SURROGATE)(3, **given)
        arguments = driver.launches[-1][3]
        assert arguments[0] is arguments[1] is arguments[2] is x
        assert type(arguments[3]) is np.int64
        assert arguments[3] == 12
        of = arguments[4]
        assert {of.dtype[name] for name in ("theta", "height", "steep")} == {dtype}
        assert (of["height"], of["theta"]) == (dtype.type(0.1), np.inf)


def test_what_was_bound_before_is_no_excuse(library, driver):
    """Numbers that compare equal may differ in type or sign: each is bound, or rejected, as at the first call."""
    kernel = library.kernel("surrogate_adjoint", DOUBLE, SURROGATE)
    x = np.zeros((4, 3))
    zero, one = 0.0, 1.0
    for height in (zero, -zero, one, one, 1, zero):
        kernel(3, **surrogate(g=x, u=x, y=x, height=height))
        bound = driver.launches[-1][3][4]["height"]
        assert (bound, np.signbit(bound)) == (height, np.signbit(height))
        assert bound.dtype == np.float64
    for changed, message in (
        ({"height": True}, "height must be a number, got bool"),
        ({"size": True}, "size must be an integer, got bool"),
        ({"size": 1.0}, "size must be an integer, got float"),
    ):
        with pytest.raises(TypeError, match=message):
            kernel(3, **surrogate(g=x, u=x, y=x, **changed))


def test_a_grid_covers_its_threads_and_has_a_top(library, driver):
    kernel = library.kernel("surrogate_adjoint", SINGLE, SURROGATE)
    for threads, blocks in ((1, 1), (128, 1), (129, 2), (1 << 40, 1 << 16)):
        kernel(threads, **surrogate())
        assert driver.launches[-1][1:3] == ((blocks,), (128,))
    kernel = library.kernel("surrogate_adjoint", SINGLE, SURROGATE)
    driver.launches.clear()
    kernel(0, **surrogate())
    assert driver.launches == []
    with pytest.raises(TypeError, match="surrogate_adjoint: size"):
        kernel(0, **surrogate(size="4"))


def test_a_source_is_compiled_once_for_each_type_and_device(library, driver):
    first = library.kernel("surrogate_adjoint", SINGLE, SURROGATE)
    assert library.kernel("surrogate_adjoint", SINGLE, SURROGATE) is first
    library.kernel("surrogate_adjoint", np.dtype("f4"), SURROGATE)
    assert driver.built == [(source.text("sampled_srm", SINGLE, SURROGATE), 0)]
    library.kernel("surrogate_adjoint", DOUBLE, SURROGATE)
    library.kernel("shift", SINGLE)
    driver.current = 1
    assert library.kernel("surrogate_adjoint", SINGLE, SURROGATE) is not first
    assert driver.built[1:] == [
        (source.text("sampled_srm", DOUBLE, SURROGATE), 0),
        (source.text("delay", SINGLE), 0),
        (source.text("sampled_srm", SINGLE, SURROGATE), 1),
    ]
    kind = header(cs.LIF.kind(), EXPONENTIAL.shape.curve)
    of_kind = library.kernel("neuron_of_kind", SINGLE, kind)
    assert library.kernel("neuron_of_kind", SINGLE, kind) is of_kind
    assert driver.built[4:] == [(source.text("scan", SINGLE, kind), 1)]


def test_blocks_and_shared_memory_of_ones_own_choice(library, driver):
    kernel = library.kernel("surrogate_adjoint", SINGLE, SURROGATE)
    for grid, shared in (((2, 3), 0), ((4,), 99_000), ((1, 1, 5), 60_000)):
        kernel.launch(grid, (32, 2), shared, **surrogate())
        assert driver.launches.pop()[1:3] == (grid, (32, 2))
    kernel.launch((3, 0), (32,), 0, **surrogate())
    assert driver.launches == []
    with pytest.raises(ValueError, match=r": shared must be at most 100000 bytes on this device, got 100001$"):
        kernel.launch((1,), (32,), 100_001, **surrogate())


INTEGERS = """extern "C" __global__ void k(int i, unsigned int u, const unsigned *words, float16 *h) {}"""


def test_integers_of_32_bits_and_halves(driver):
    parameters = source.signatures(INTEGERS)["k"]
    assert [(p.kind, p.array) for p in parameters] == [
        *(("int", False), ("unsigned", False), ("unsigned", True), ("float16", True))
    ]
    kernel = source.Kernel("k", parameters, driver._launch("k"), driver, SINGLE)
    arrays = {"words": np.zeros(2, np.uint32), "h": np.zeros(2, np.float16)}
    kernel(1, i=-3, u=(1 << 32) - 1, **arrays)
    bound = driver.launches[0][3]
    assert [type(x) for x in bound[:2]] == [np.int32, np.uint32]
    assert bound[:2] == (-3, 4294967295)
    for name, value, dtype in (("i", 1 << 31, "int32"), ("u", -1, "uint32"), ("u", 1 << 32, "uint32")):
        with pytest.raises(ValueError, match=rf"^k: {name} does not fit {dtype}, got {value}$"):
            kernel(1, **{"i": 0, "u": 0, name: value}, **arrays)
    with pytest.raises(TypeError, match=r"^k: words is int32, the kernel wants uint32$"):
        kernel(1, i=0, u=0, words=np.zeros(2, np.int32), h=arrays["h"])


STRUCT = """
// Constants of neurons.
struct Neurons {
    real theta, decay;  // of all
    long long cut;
    bool exact;
};
struct Other {
    real *x;
    __device__ void run() {}
};
extern "C" __global__ void k(const __grid_constant__ Neurons neurons, real *y)
{
    if (threadIdx.x == 0 && blockIdx.x == 0)
        y[0] = neurons.theta + neurons.decay * neurons.cut + (neurons.exact ? 100 : 0);
}
"""


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_struct_of_numbers_is_passed_by_value(dtype):
    kernel, y = cs.kernel(STRUCT, "k"), np.zeros(1, dtype)
    given = {"theta": 0.5, "decay": 2.0, "cut": 3, "exact": True}
    with emulation():
        kernel(1, neurons=given, y=y)
        assert y[0] == 106.5
        with pytest.raises(TypeError, match=r"^k: neurons\.exact must be a bool, got int$"):
            kernel(1, neurons=given | {"exact": 1}, y=y)
        with pytest.raises(TypeError, match=r"^k: neurons must have theta, decay, cut, exact, got theta$"):
            kernel(1, neurons={"theta": 0.5}, y=y)
    with pytest.raises(ValueError, match=r"a parameter must be real .*, got 'Other other'$"):
        cs.kernel(STRUCT + 'extern "C" __global__ void two(Other other) {}', "two")


# Kernels of the user's own


CODE = """
// y[i] = factor x[i] where wanted. A second kernel, and a word in a comment: __global__
extern "C" __global__ void scale(
    const real *__restrict__ x,
    const bool *__restrict__ wanted,
    real *__restrict__ y,
    real factor, bool negative, long long n)
{
    GRID_STRIDE(i, n) y[i] = wanted[i] ? (negative ? -factor : factor) * x[i] : real(0);
}

extern "C" __global__ void count(const bool *x, long long *total, long long n)
{
    long long found = 0;
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        for (long long i = 0; i < n; ++i) found += x[i];
        total[0] = found;
    }
}
""".replace(", and a word in a comment: __global__", "")


def given_arguments(size=5, dtype=np.float32, **changed):
    x = np.arange(size, dtype=dtype)
    fitting = {"x": x, "wanted": x % 2 == 1, "y": np.zeros(size, dtype), "factor": 0.1, "negative": False, "n": size}
    return fitting | changed


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [0, 1, 5, 300])
def test_a_kernel_of_text(dtype, n):
    scale = cs.kernel(CODE, "scale")
    given = given_arguments(n, dtype)
    with emulation() as emulator:
        for negative in (False, True):
            scale(n, **given | {"negative": negative})
            expected = np.where(given["wanted"], dtype(-0.1 if negative else 0.1) * given["x"], 0)
            np.testing.assert_array_equal(given["y"], expected)
    assert len(emulator.built) == 1
    assert emulator.launches == ["scale", "scale"] * (n > 0)


def test_a_kernel_of_a_file(tmp_path):
    path = tmp_path / "mine.cu"
    path.write_text(CODE)
    x, total = np.arange(9) % 3 == 0, np.zeros(1, np.int64)
    for where in (path, str(path)):
        with emulation():
            cs.kernel(where, "count")(1, x=x, total=total, n=9)
        assert total[0] == 3


def test_each_number_type_and_each_library_is_compiled_once():
    for _ in range(2):
        with emulation() as emulator:
            for dtype in (np.float32, np.float64, np.float32):
                scale = cs.kernel(CODE, "scale")
                scale(5, **given_arguments(dtype=dtype))
        assert [text.split(";")[0] for text in emulator.built] == ["typedef float real", "typedef double real"]
    assert repr(scale) == "kernel scale(real *x, bool *wanted, real *y, real factor, bool negative, long long n)"


def test_arrays_of_other_numbers_are_refused():
    with emulation(), pytest.raises(TypeError, match=r"^scale: arrays must be float32 or float64, got float16"):
        cs.kernel(CODE, "scale")(5, **given_arguments(x=np.zeros(5, np.float16)))


@pytest.mark.parametrize(
    ("kind", "message", "text", "name"),
    [
        (ValueError, "kernel: name must be one of scale, count, got 'scale2'; did you mean scale?", CODE, "scale2"),
        (ValueError, "kernel: text_or_path must be a source with a __global__ function or a file", "no/such.cu", "x"),
        (TypeError, "kernel: text_or_path must be text or a path, got int", 3, "x"),
        (ValueError, 'extern "C" is missing', "__global__ void f(long long n) {}", "f"),
        (ValueError, "got '__global__ int f(real x)'", 'extern "C" __global__ int f(real x) {}', "f"),
        (ValueError, "write long long for size_t", 'extern "C" __global__ void f(real x, size_t n) {}', "f"),
        (ValueError, "write real for float", 'extern "C" __global__ void f(float *x) {}', "f"),
        (ValueError, "float16 is a type of arrays only", 'extern "C" __global__ void f(float16 h) {}', "f"),
    ],
)
def test_sources_that_do_not_fit(kind, message, text, name):
    with pytest.raises(kind, match=re.escape(message)):
        cs.kernel(text, name)


def test_a_wrong_name_in_a_file_names_the_file(tmp_path):
    (tmp_path / "mine.cu").write_text(CODE)
    with pytest.raises(ValueError, match=r"^kernel: mine\.cu: name must be one of scale, count, got 'x'$"):
        cs.kernel(tmp_path / "mine.cu", "x")


@pytest.mark.parametrize("place", ["__global__ BOUNDS void f", "__global__ void BOUNDS f", "BOUNDS __global__ void f"])
@pytest.mark.parametrize("bounds", ["__launch_bounds__(256)", "__launch_bounds__ (2 * (64 + 64), 2)"])
def test_launch_bounds_are_no_part_of_the_name(place, bounds):
    code = f'extern "C" {place.replace("BOUNDS", bounds)}(real *y, long long n) {{ GRID_STRIDE(i, n) y[i] = 3; }}'
    f, y = cs.kernel(code, "f"), np.zeros(3, np.float32)
    assert repr(f) == "kernel f(real *y, long long n)"
    if place.startswith("__global__ BOUNDS"):
        with emulation():
            f(3, y=y, n=3)
        assert y.tolist() == [3, 3, 3]


def test_a_source_that_does_not_compile_says_so_in_one_line():
    broken = cs.kernel(CODE.replace("-factor", "-fctor"), "scale")
    with emulation(), pytest.raises(ValueError, match=r"^scale: the source does not compile: .*fctor") as error:
        broken(5, **given_arguments())
    assert "\n" not in str(error.value)
    assert error.value.__cause__ is not None


def test_without_a_gpu_the_call_says_so(monkeypatch):
    scale = cs.kernel(CODE, "scale")
    monkeypatch.setattr(backend, "_driver_problem", lambda: "no CUDA driver on this machine")
    monkeypatch.setattr(source, "library", source.Library(source.Cuda()))
    with pytest.raises(ValueError) as error:
        scale(5, **given_arguments())
    assert str(error.value) == (
        "scale: a CUDA kernel needs a GPU: device: cuda is out of reach: no CUDA driver on this machine"
    )
