"""Dense layers on the CPU, backward: errors that are walked in parts, and gradients of spikes that are products."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import jit
from cuslayer.kernels import cpu
from cuslayer.kernels.dense import cpu as dense
from cuslayer.kernels.dense.product import WIDEST, Product
from cuslayer.kernels.fused import dense_neuron as fused

pytestmark = pytest.mark.cpu_only
RNG = np.random.default_rng(15)


def count_parts(monkeypatch):
    """Return a list of what `walk_back` adds, and the parts in which it does."""
    added, run = [], dense.parallel_for

    def counted(kernel, size, *arguments, **options):
        if kernel is dense._add_rows_before:
            added.append(arguments[0])
        run(kernel, size, *arguments, **options)

    monkeypatch.setattr(dense, "parallel_for", counted)
    return added


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("lines", "inputs", "outputs", "rate"),
    [(300, 40, 9, 0.1), (301, 33, 130, 0.02), (64, 5, 1, 0.9), (1000, 7, 19, 0.004), (50, 3, 4, 0.0)],
)
def test_errors_in_parts_have_the_bits_of_all_at_once(monkeypatch, lines, inputs, outputs, rate, dtype):
    g, x = RNG.standard_normal((lines, outputs)).astype(dtype), RNG.random((lines, inputs)) < rate
    x[:, 0], x[::2, 1] = False, True
    found = cpu.spikes.find_spikes(x)
    whole = dense.walk_back(found, g)
    added = count_parts(monkeypatch)
    monkeypatch.setattr(dense, "_WORTH_A_SUM", 0)
    for together in (1, 5, 32):
        monkeypatch.setattr(dense, "_WALKED_BYTES", together * outputs * g.itemsize)
        for threads in (1, 3):
            monkeypatch.setattr(jit, "cores", lambda threads=threads: threads)
            added.clear()
            assert dense.walk_back(found, g).tobytes() == whole.tobytes()
            ends = [*range(together, lines, together), lines] if lines > 2 * together else []
            assert added == ends


def adjoint_of(product, u, steps, srm):
    """Return the gradient of a product, and that of the same product as an array."""
    constants = srm.filter, srm.spiking, srm.gradient == "exact"
    one = fused.dense_neuron_adjoint(product, u.copy(), steps, *constants)
    other = fused.dense_neuron_adjoint(product.errors @ product.weight.T, u.copy(), steps, *constants)
    return one, other


@pytest.mark.parametrize("gradient", ["slayer", "exact"])
@pytest.mark.parametrize("following", [0, 1, 3, WIDEST, WIDEST + 1])
@pytest.mark.parametrize(
    ("steps", "samples", "outputs"),
    [(0, 2, 3), (5, 0, 3), (1, 1, 1), (31, 3, 7), (32, 1, 300), (33, 2, 513), (100, 5, 130), (64, 70, 9), (40, 2, 0)],
)
def test_a_gradient_that_is_a_product(monkeypatch, steps, samples, outputs, following, gradient):
    srm, rows = cs.SRM(tau_sr=3.0, cutoff=0.2, gradient=gradient), steps * samples
    for dtype, tolerance in ((np.float32, 1e-5), (np.float64, 1e-12)):
        u = (RNG.standard_normal((rows, outputs)) * 9).astype(dtype)
        errors, weight = (RNG.standard_normal((size, following)).astype(dtype) for size in (rows, outputs))
        found = set()
        for threads in (1, 3):
            monkeypatch.setattr(jit, "cores", lambda threads=threads: threads)
            one, other = adjoint_of(Product(errors, weight), u, steps, srm)
            assert (one.dtype, one.shape) == (u.dtype, u.shape)
            assert np.abs(one - other).max(initial=0) <= tolerance * max(1, np.abs(other).max(initial=0))
            found.add(one.tobytes())
        assert len(found) == 1


@pytest.mark.parametrize("first", ["34-12", "6x6x2-4c3"])
def test_a_layer_in_front_of_a_narrow_one(first):
    """Its gradient is that of the plain path, whether it takes a product or has it multiplied."""
    cs.seed(1)
    net = cs.Network(f"{first}-3", cs.SRM(tau_sr=3.0))
    x, g = RNG.random((45, 2, *net.input_shape)) < 0.3, RNG.standard_normal((45, 2, 3)).astype(np.float32)
    net(x).backward(g)
    fused_gradients = [p.grad for p in net.parameters()]
    y = cs.Tensor(x.astype(np.float32))
    for p in net.parameters():
        p.grad = None
    for k in range(0, len(net.layers), 2):
        y = net.layers[k + 1](net.layers[k](y)) * np.float32(1)
    y.backward(g)
    for one, p in zip(fused_gradients, net.parameters(), strict=True):
        assert np.abs(one).max() > 0
        assert np.linalg.norm(one - p.grad) <= 1e-5 * np.linalg.norm(p.grad)
