"""Calls of CUDA kernels: arguments are bound by name, and each that does not fit is rejected by its name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cuslayer.kernels import gpu
from cuslayer.kernels.cuda import compile as source
from tests.support.recorder import Recorder, psp
from tools.emulator.driver import emulation

SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)


def test_a_signature_is_read_without_its_comments() -> None:
    found = source.signatures(
        """
        extern "C" __global__ void one(
            const real *__restrict__ x,  // (steps, columns), an array
            bool* s,                     /* written, (a, b) */
            const long long *delay,
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


def test_a_type_without_a_check_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^one: a parameter must be real .*, got 'float n'; write real for float$"):
        source.signatures('extern "C" __global__ void one(real *x, float n) {}')


def test_a_kernel_whose_name_would_be_mangled_is_refused() -> None:
    with pytest.raises(ValueError, match=r'^kernel: one must be declared .*, extern "C" is missing$'):
        source.signatures("__global__ void one(real *x) {}")


STRIDED = np.zeros((4, 6), np.float32)[:, ::2]


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"x": np.zeros((4, 3))}, TypeError, "psp: x is float64, the kernel wants float32"),
        ({"a": np.zeros((4, 3), bool)}, TypeError, "psp: a is bool, the kernel wants float32"),
        ({"x": [0.0]}, TypeError, "psp: x is builtins.list, the kernel wants numpy.ndarray"),
        ({"x": STRIDED}, ValueError, "psp: x must be C-contiguous, got strides (24, 8) of shape (4, 3)"),
        ({"steps": 4.0}, TypeError, "psp: steps must be an integer, got float"),
        ({"steps": True}, TypeError, "psp: steps must be an integer, got bool"),
        ({"cut": 1 << 63}, ValueError, "psp: cut does not fit int64, got 9223372036854775808"),
        ({"decay": True}, TypeError, "psp: decay must be a number, got bool"),
        ({"gain": 1e39}, ValueError, "psp: gain does not fit float32, got 1e+39"),
        ({"gain": 10**400}, ValueError, "psp: gain does not fit float32, got an integer past every float"),
    ],
)
def test_an_argument_that_does_not_fit_is_refused_by_name(
    library: source.Library, driver: Recorder, changed: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as raised:
        library.kernel("psp", SINGLE)(3, **psp(**changed))
    assert str(raised.value) == message
    assert driver.launches == []


def test_a_missing_or_unknown_name_is_refused(library: source.Library, driver: Recorder) -> None:
    names = "x, a, steps, columns, decay, gain, cut, cut_p, cut_q"
    fitting = psp()
    less = {name: x for name, x in fitting.items() if name not in ("gain", "cut_q")}
    for arguments, found in (
        (less, "lack gain, cut_q"),
        (fitting | {"theta": 1, "y": 1}, "have unknown theta, y"),
        (less | {"height": 1, "cuts": 1}, "lack gain, cut_q and have unknown height, cuts"),
        ({}, f"lack {names}"),
    ):
        with pytest.raises(TypeError) as raised:
            library.kernel("psp", SINGLE)(3, **arguments)
        assert str(raised.value) == f"psp: arguments {found}; the kernel wants {names}"
    assert driver.launches == []


def test_names_bind_in_any_order(library: source.Library, driver: Recorder) -> None:
    kernel = library.kernel("psp", SINGLE)
    fitting = psp(a=np.zeros((4, 3), np.float32))
    kernel(3, **fitting)
    kernel(3, **dict(reversed(fitting.items())))
    first, then = (launch[3] for launch in driver.launches)
    assert first[0] is then[0] is fitting["x"]
    assert first[1] is then[1] is fitting["a"]
    assert first[2:] == then[2:] == (4, 3, SINGLE.type(0.9), 1.0, 4, 0, 0)


def test_each_kind_of_array_is_held_to_its_type(library: source.Library) -> None:
    x = np.zeros((4, 3), np.float32)
    shift = library.kernel("shift", SINGLE)
    with pytest.raises(TypeError, match=r"^shift: delay is int32, the kernel wants int64$"):
        shift(3, x=x, delay=np.zeros(3, np.int32), y=x, steps=4, columns=3)
    spikes = library.kernel("shift_spikes", SINGLE)
    with pytest.raises(TypeError, match=r"^shift_spikes: y is uint8, the kernel wants bool$"):
        spikes(3, x=x.astype(bool), delay=np.zeros(3, np.int64), y=x.astype(np.uint8), steps=4, columns=3)


def adam(w: Any, keep_peak: Any) -> dict[str, Any]:
    """Return arguments that the kernel adam takes."""
    numbers = dict.fromkeys(("beta1", "beta2", "rate_m", "rate_g", "scale_v", "eps", "decay"), 0.5)
    return dict.fromkeys(("w", "g", "m", "v", "peak"), w) | {"size": w.size, "keep_peak": keep_peak} | numbers


def test_a_bool_is_no_number(library: source.Library) -> None:
    kernel = library.kernel("adam", DOUBLE)
    with pytest.raises(TypeError, match=r"^adam: keep_peak must be a bool, got int$"):
        kernel(3, **adam(np.zeros(3), 1))


def test_an_array_elsewhere_is_refused(library: source.Library, driver: Recorder) -> None:
    far = np.zeros((4, 3), np.float32)
    driver.places[id(far)] = 1
    with pytest.raises(ValueError, match=r"^psp: a is on device 1, the kernel runs on device 0$"):
        library.kernel("psp", SINGLE)(3, **psp(a=far))
    driver.current = 1
    with pytest.raises(ValueError, match=r"^psp: x is on device 0, the kernel runs on device 1$"):
        library.kernel("psp", SINGLE)(3, **psp(a=far))


def test_numbers_arrive_in_the_exact_type(library: source.Library, driver: Recorder) -> None:
    for dtype in (SINGLE, DOUBLE):
        x = np.zeros((4, 3), dtype)
        given = psp(x=x, a=x, steps=np.int32(4), decay=0.9, gain=np.float64(0.1), cut_p=1, cut_q=np.inf)
        library.kernel("psp", dtype)(3, **given)
        arguments = driver.launches[-1][3]
        assert arguments[0] is arguments[1] is x
        assert [type(a) for a in arguments[2:]] == [
            *(np.int64, np.int64, dtype.type, dtype.type, np.int64, dtype.type, dtype.type)
        ]
        assert arguments[2] == 4
        assert arguments[5] == dtype.type(0.1)
        assert arguments[8] == np.inf
    library.kernel("adam", SINGLE)(3, **adam(np.zeros(3, np.float32), True))
    assert type(driver.launches[-1][3][6]) is np.bool_


def test_what_was_bound_before_is_no_excuse(library: source.Library, driver: Recorder) -> None:
    """Numbers that compare equal may differ in type or sign: each is bound, or rejected, as at the first call."""
    kernel = library.kernel("psp", DOUBLE)
    x = np.zeros((4, 3))
    zero, one = 0.0, 1.0
    for gain in (zero, -zero, one, one, 1, zero):
        kernel(3, **psp(x=x, a=x, gain=gain, columns=1))
        bound = driver.launches[-1][3][5]
        assert (bound, np.signbit(bound)) == (gain, np.signbit(gain))
        assert type(bound) is np.float64
    for changed, message in (
        ({"gain": True}, "gain must be a number, got bool"),
        ({"columns": True}, "columns must be an integer, got bool"),
        ({"columns": 1.0}, "columns must be an integer, got float"),
    ):
        with pytest.raises(TypeError, match=message):
            kernel(3, **psp(**{"x": x, "a": x, "columns": 1, **changed}))


def test_a_grid_covers_its_threads_and_has_a_top(library: source.Library, driver: Recorder) -> None:
    kernel = library.kernel("psp", SINGLE)
    for threads, blocks in ((1, 1), (128, 1), (129, 2), (1 << 40, 1 << 16)):
        kernel(threads, **psp())
        assert driver.launches[-1][1:3] == ((blocks,), (128,))


def test_no_threads_are_no_launch_but_still_a_check(library: source.Library, driver: Recorder) -> None:
    kernel = library.kernel("psp", SINGLE)
    kernel(0, **psp())
    assert driver.launches == []
    with pytest.raises(TypeError, match="psp: steps"):
        kernel(0, **psp(steps="4"))


def test_a_source_is_compiled_once_for_each_type_and_device(library: source.Library, driver: Recorder) -> None:
    first = library.kernel("psp", SINGLE)
    assert library.kernel("psp", SINGLE) is first
    library.kernel("fir", np.dtype("f4"))
    assert driver.built == [(source.text("response", SINGLE), 0)]
    library.kernel("psp", DOUBLE)
    library.kernel("spike", SINGLE)
    driver.current = 1
    assert library.kernel("psp", SINGLE) is not first
    assert driver.built[1:] == [
        (source.text("response", DOUBLE), 0),
        (source.text("srm", SINGLE), 0),
        (source.text("response", SINGLE), 1),
    ]


def test_a_launcher_passes_the_refusal_on() -> None:
    w, strided = np.zeros((4, 3), np.float32), np.zeros((4, 6), np.float32)[:, ::2]
    with emulation() as emulator:
        # A step in place cannot move a copy.
        with pytest.raises(ValueError, match=r"^sgd: w must be C-contiguous"):
            gpu.optim.sgd(strided, w, w, 0.1, 0.9, 0)
        with pytest.raises(TypeError, match=r"^sgd: g is float64, the kernel wants float32$"):
            gpu.optim.sgd(w, w.astype(float), w, 0.1, 0.9, 0)
    assert emulator.launches == []
