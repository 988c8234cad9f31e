"""NumPy's functions on tensors on a device, against the CPU; conversions to arrays and numbers."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend, functions
from tests.device.test_operations import device as device
from tests.device.test_operations import module, run
from tests.support.array_cases import CONSTANT, SMOOTH


def arrays(shapes, dtype="float64"):
    generator = np.random.default_rng(7)
    return [generator.standard_normal(shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SMOOTH)
def test_a_function(name, dtype):
    fn, shapes = SMOOTH[name]
    given = arrays(shapes, dtype)
    ours, theirs = (run(where, lambda *x: fn(functions, *x), given) for where in ("cuda", "cpu"))
    assert [(a.dtype, a.shape) for a in ours] == [(a.dtype, a.shape) for a in theirs]
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", CONSTANT)
def test_a_function_without_a_gradient(name):
    fn, shapes = CONSTANT[name]
    found = {}
    for where in ("cuda", "cpu"):
        cs.use(where)
        out = fn(functions, *map(cs.Tensor, arrays(shapes)))
        found[where] = out.data if isinstance(out, cs.Tensor) else out
        assert module(found[where]) == {"cpu": "numpy", "cuda": "cupy"}[where]
    ours, theirs = backend.to_numpy(found["cuda"]), backend.to_numpy(found["cpu"])
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    assert (ours == theirs).all()


@pytest.mark.parametrize("name", ["concatenate", "stack", "where", "maximum", "einsum", "max", "reshape"])
def test_a_function_of_spikes(name):
    fn, shapes = SMOOTH[name]
    spikes = [a > 0 for a in arrays(shapes)]
    (ours,), (theirs,) = (run(where, lambda *x: fn(functions, *x), spikes) for where in ("cuda", "cpu"))
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs)


def test_numbers_and_arrays():
    x = cs.Tensor([[1.0, 2.0]])
    assert (float(x[0, 1]), f"{x[0, 0]:.2f}", bool((x > 0).all()), x.tolist()) == (2.0, "1.00", True, [[1.0, 2.0]])
    # As with x.numpy(), an array is copied to the CPU.
    assert type(np.asarray(x)) is np.ndarray
    assert np.asarray(x, np.float64).tolist() == [[1.0, 2.0]]
    assert np.allclose(x, x.data)
    assert np.median(x) == 1.5
    assert module(np.exp(x).data) == "cupy"
    assert module((np.ones((2, 1), np.float32) * x).data) == "cupy"
    with pytest.raises(ValueError, match=r"^np.asarray: copy must not be False, data lies on the GPU$"):
        x.__array__(copy=False)
    with pytest.raises(TypeError, match=r"^np.asarray: the Tensor requires a gradient"):
        np.asarray(cs.Tensor([1.0], requires_grad=True))


def test_other_libraries_read_the_memory():
    x = cs.Tensor([1.0, 2.0])
    assert x.__dlpack_device__() == x.data.__dlpack_device__()
    assert x.__dlpack_device__()[0] == 2
    assert x.__cuda_array_interface__["data"] == x.data.__cuda_array_interface__["data"]
    tracked = cs.Tensor([1.0], requires_grad=True)
    with pytest.raises(AttributeError, match=r"^Tensor: __cuda_array_interface__ would lose the gradient; .*detach"):
        _ = tracked.__cuda_array_interface__
    assert not hasattr(tracked, "__cuda_array_interface__")
    assert hasattr(tracked.detach(), "__cuda_array_interface__")
    y = cs.from_dlpack(x)
    assert module(y.data) == "cupy"
    assert y.tolist() == [1.0, 2.0]
    x.data[0] = 5.0
    assert y.tolist() == [5.0, 2.0]
    assert module(cs.from_dlpack(np.ones(2)).data) == "cupy"
    cs.use("cpu")
    assert module(cs.from_dlpack(x).data) == "numpy"


@pytest.mark.parametrize("requires_grad", [False, True])
def test_an_array_on_the_device_on_the_left(requires_grad):
    x = cs.Tensor(np.array([[1.0, 2.0], [3.0, 4.0]]), requires_grad)
    a = backend.to_device(np.array([[2.0, 0.5], [1.0, 4.0]]))
    for ours, expected in (
        (a + x, a + x.data),
        (a - x, a - x.data),
        (a * x, a * x.data),
        (a / x, a / x.data),
        (a**x, a**x.data),
        (a @ x, a @ x.data),
    ):
        assert isinstance(ours, cs.Tensor)
        assert ours.requires_grad == requires_grad
        assert (ours.data == expected).all()
    for mask, expected in ((a < x, a < x.data), (a == x, a == x.data), (a >= x, a >= x.data)):
        assert isinstance(mask, cs.Tensor)
        assert (mask.data == expected).all()
