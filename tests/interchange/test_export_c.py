"""Networks as C: what gcc compiles of them gives the bits of a stream."""

import ctypes
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.interchange.c_code.selftest import checksum
from cuslayer.layers import FilterBank, KWinners, Shift, TemporalFilter, Unpool
from cuslayer.neurons import BalancedResonateAndFire, NormalizedALIF, SampledSRM, SigmaDelta
from cuslayer.neurons.step import exp, flushed, rint, trunc

WARNINGS = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror"]
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")


def compiled(written, *options):
    library = written.source.with_suffix(".so")
    command = ["gcc", *WARNINGS, *(options or ("-O1",)), "-shared", "-fPIC", str(written.source), "-o", str(library)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return ctypes.CDLL(str(library))


def steps_in_c(library, written, x, like):
    """Return what net_step sends for a recording (T, ...), as arrays of the network's output."""
    state = ctypes.create_string_buffer(written.memory + 64)
    library.net_reset(state)
    index = np.dtype(re.search(r"typedef (uint\d+)_t net_index", written.header.read_text())[1])
    library.net_step.restype = ctypes.c_uint32
    for frame in x:
        out = np.zeros(like.size, index if like.dtype == bool else np.float32)
        if frame.dtype == bool:
            events = np.flatnonzero(frame).astype(index)
            given = (events.ctypes.data_as(ctypes.c_void_p), ctypes.c_uint32(len(events)))
        else:
            numbers = np.ascontiguousarray(frame, np.float32)
            given = (numbers.ctypes.data_as(ctypes.c_void_p),)
        count = library.net_step(state, *given, out.ctypes.data_as(ctypes.c_void_p))
        if like.dtype == bool:
            sent = np.zeros(like.size, bool)
            sent[out[:count]] = True
            yield sent
        else:
            yield out


def check_equal(net, x, folder, *options):
    """Compile a network and compare it with its stream on x (T, ...), of which the self-test has a part."""
    net.eval()
    written = cs.export_c(net, folder / "net", recording=x[: len(x) // 2, None])
    library = compiled(written, *options)
    assert library.net_selftest() == 0
    stream = net.stream()
    expected = [stream.step(frame[None])[0].ravel() for frame in x]
    found = list(steps_in_c(library, written, x, expected[0]))
    words = [np.ascontiguousarray(rows).view(np.uint8) for rows in (expected, found)]
    np.testing.assert_array_equal(*words)
    assert np.any(expected)


@dataclass(frozen=True, eq=False, repr=False)
class Exponential(cs.StepNeuron):
    """A step of one's own: a name that is a word of C, letters beyond ASCII, and all functions."""

    tau_v: float = 20.0
    theta: float = 2.0
    time_constants: ClassVar[tuple[str, ...]] = ("tau_v",)
    decays: ClassVar[dict[str, str]] = {"while_": "tau_v"}
    states: ClassVar[tuple[str, ...]] = ("int_", "größe")
    start: ClassVar[dict[str, float]] = {"int_": 0.25}

    def step(c, while_, int_, größe, x):  # type: ignore[no-untyped-def]
        e = exp(min((int_ - 1.0) / 0.5, 3.0))
        if int_ > 0.5 and not (x < 0):
            int_ = int_ * 0.9
        else:
            int_ = int_ + 0.01 * trunc(x * 3.0)
        u = flushed(while_ * int_ + rint(x * 8.0) / 8.0 + 0.1 * e + 0.1 * größe**2)
        s = u >= c.theta
        return (0.0 if s else u), 0.5 * größe + abs(x) * 0.1, u, s


def dense(inputs, outputs, **options):
    return cs.Dense(inputs, outputs, weight_scale=12.0, **options)


def normalized(features, **options):
    rng = np.random.default_rng(features)
    norm = cs.BatchNorm(features, **options)
    norm.mean.data[...] = rng.normal(size=features) if norm.center else 0
    norm.var.data[...] = rng.uniform(0.1, 3, features)
    return norm


SPIKES = (40,)
IMAGE = (7, 9, 2)
NETWORKS = {
    "srm": (SPIKES, lambda: [dense(40, 30), cs.SRM(theta=3.0), dense(30, 5, bias=True), cs.SRM(theta=3.0)]),
    "fine steps": (
        SPIKES,
        lambda: [dense(40, 30), cs.LIF(tau=np.linspace(2, 30, 30), dt=0.5), cs.ReadOut(30, 4, dt=0.5)],
    ),
    "two states": (SPIKES, lambda: [dense(40, 30), cs.CUBA(tau_i=4.0), dense(30, 9), cs.AdaptiveLIF(), cs.Dense(9, 4)]),
    "adaptive": (
        SPIKES,
        lambda: [cs.Dense(40, 30, weight_scale=90.0), cs.AdLIF(), cs.Dense(30, 9, weight_scale=90.0), NormalizedALIF()],
    ),
    "resonators": (
        SPIKES,
        lambda: [
            cs.Dense(40, 30, weight_scale=90.0),
            BalancedResonateAndFire(),
            cs.Dense(30, 9, weight_scale=90.0),
            cs.neurons.ResonateAndFire(),
        ],
    ),
    "loihi": (SPIKES, lambda: [cs.Dense(40, 30, weight_scale=300.0), cs.Loihi()]),
    "sampled": (
        SPIKES,
        lambda: [
            dense(40, 30),
            SampledSRM([1.0, 0.5, 0.25], [0.0, -2.0, -1.0], theta=1.0),
            cs.ReadOut(30, 3, neuron=cs.SRM()),
        ],
    ),
    "changes": (
        SPIKES,
        lambda: [dense(40, 30), SigmaDelta(theta=0.3, sums=False), dense(30, 5), SigmaDelta(theta=0.2)],
    ),
    "one's own": (SPIKES, lambda: [dense(40, 30), Exponential(), dense(30, 5), Exponential(tau_v=5.0)]),
    "recurrent": (
        SPIKES,
        lambda: [
            dense(40, 30),
            cs.Recurrent(dense(30, 30, delays=cs.SynapticDelays(4.0)), cs.LIF(), delay=2.0),
            dense(30, 20),
            cs.Recurrent(cs.Dense(20, 20), cs.SRM(theta=3.0), delay=3.0),
        ],
    ),
    "delays": (
        SPIKES,
        lambda: [
            cs.Delay(40, dt=1.0, max_delay=6.0, initial=6.0),
            dense(40, 30, delays=cs.SynapticDelays(5.0)),
            cs.LIF(),
            Shift(2.0),
            cs.Delay(30, dt=1.0, max_delay=6.0, initial=6.0, mode="linear"),
            dense(30, 8),
            cs.LIF(),
        ],
    ),
    "filters": (
        SPIKES,
        lambda: [FilterBank(2, 5), dense(80, 9), TemporalFilter(cs.SRM(tau_sr=2.0)), KWinners(4), cs.LIF()],
    ),
    "branches": (
        SPIKES,
        lambda: [
            dense(40, 30),
            cs.LIF(),
            cs.Residual(dense(30, 30), cs.LIF()),
            dense(30, 30),
            cs.LIF(),
            cs.Residual(dense(30, 30), cs.LIF(), join="iand"),
            cs.Parallel(cs.Sequential(dense(30, 6), cs.LIF()), cs.Sequential(cs.Dropout(0.5)), join="concatenate"),
            cs.layers.Average(4),
        ],
    ),
    "images": (
        IMAGE,
        lambda: [
            cs.Conv(2, 6, 3, padding=1, weight_scale=2.0, bias=True),
            cs.ReLU(),
            cs.Conv(6, 6, 1, weight_scale=9.0),
            cs.layers.QuantizedReLU(5, limit=1.7),
            normalized(6, center=False),
            cs.LIF(),
            cs.SumPool(2, gain=1.1),
            cs.LIF(),
            cs.Conv(6, 4, (3, 2), stride=(1, 2), dilation=2, padding=2, groups=2, weight_scale=9.0),
            cs.Recurrent(cs.Conv(4, 4, 3, padding=1), cs.LIF()),
            cs.MaxPool(2),
            cs.Dense((2, 2, 4), 5, weight_scale=9.0),
            normalized(5, trained=True),
            cs.LIF(),
        ],
    ),
    "converted": (
        IMAGE,
        lambda: [
            *(cs.layers.CountMaxPool(3, stride=2, padding=1), cs.Parallel(cs.layers.FirstStep(), cs.Sequential())),
            *(cs.Conv(2, 4, 3, weight_scale=6.0, bias=True), cs.neurons.IF(unit=np.array([0.5, 1.0, 2.0, 1.5]))),
            *(cs.layers.CountMaxPool(2, stride=1), cs.AvgPool((1, 2))),
            cs.neurons.WaitingIF(unit=0.3, wait=20, levels=30, offset=0.1),
        ],
    ),
    "up again": (
        IMAGE,
        lambda: [
            cs.Conv(2, 4, 3, stride=2, weight_scale=9.0, delays=cs.SynapticDelays(3.0)),
            cs.LIF(),
            cs.ConvTranspose(4, 4, 3, stride=2, groups=2, weight_scale=9.0),
            cs.LIF(),
            Unpool(2, gain=1.5, stride=1),
            cs.AvgPool(2),
            cs.LIF(),
            cs.GlobalAvgPool(),
        ],
    ),
}


@needs_gcc
@pytest.mark.all
@pytest.mark.parametrize("numbers", [False, True], ids=["spikes", "numbers"])
@pytest.mark.parametrize("name", NETWORKS)
def test_c_equals_the_stream(name, numbers, tmp_path):
    if numbers and name in ("up again",):  # a transposed convolution of numbers is refused
        pytest.skip("takes spikes")
    shape, layers = NETWORKS[name]
    cs.seed(1)
    rng = np.random.default_rng(2)
    x = rng.standard_normal((60, *shape)).astype(np.float32) if numbers else rng.random((60, *shape)) < 0.3
    check_equal(cs.Sequential(*layers()), x, tmp_path)


@needs_gcc
def test_c_of_a_small_network(tmp_path):
    """The default level compiles one network, with a state larger than an index of 16 bits."""
    cs.seed(0)
    x = np.random.default_rng(0).random((40, 300, 300, 1)) < 0.001
    net = cs.Sequential(cs.SumPool(50, gain=1.0), cs.LIF(tau=3.0), cs.Dense((6, 6, 1), 3, weight_scale=20.0), cs.LIF())
    check_equal(net, x, tmp_path)
    assert "uint32_t net_index" in (tmp_path / "net.h").read_text()


@needs_gcc
@pytest.mark.all
@pytest.mark.parametrize("inputs", [511, 513, 2047, 2600])
def test_long_sums_of_numbers_have_the_blocks_of_a_stream(inputs, tmp_path):
    cs.seed(0)
    x = np.random.default_rng(0).standard_normal((5, inputs)).astype(np.float32)
    check_equal(cs.Sequential(cs.Dense(inputs, 7), cs.LIF(), cs.Dense(7, 3)), x, tmp_path)


@needs_gcc
@pytest.mark.all
def test_without_the_instruction_the_sum_of_a_product_is_rounded_once(tmp_path):
    """Exact cases: a product whose last bit decides between two neighbours, and one below it."""
    net = cs.Sequential(cs.Dense(2, 1))
    written = cs.export_c(net, tmp_path / "net", recording=np.ones((1, 1, 2), np.float32))
    source = written.source.read_text() + "\nfloat try_fma(float a, float b, float c) { return net_fma(a, b, c); }\n"
    written.source.write_text(
        source.replace("static float net_fma", "float try_fma(float, float, float);\nstatic float net_fma", 1)
    )
    library = compiled(written, "-O2")
    library.try_fma.restype = ctypes.c_float
    library.try_fma.argtypes = [ctypes.c_float] * 3
    rng = np.random.default_rng(0)
    a, b, c = rng.standard_normal((3, 20000)).astype(np.float32)
    c *= np.float32(2.0) ** rng.integers(-30, 30, c.size)
    # Sums that lie between two neighbours up to the last bits of the product.
    halves = np.ldexp(np.float64(1 + 2.0**-24), 3)
    a[:100] = np.float32(2.0**-20)
    b[:100] = np.float32(halves / 2**3) * 2.0**-4
    c[:100] = rng.integers(1 << 23, 1 << 24, 100) * np.float32(2.0) ** -23
    from fractions import Fraction

    for factors in zip(a.tolist(), b.tolist(), c.tolist(), strict=True):
        exact = Fraction(factors[0]) * Fraction(factors[1]) + Fraction(factors[2])
        assert abs(Fraction(library.try_fma(*factors)) - exact) <= min(
            abs(Fraction(float(np.nextafter(np.float32(float(exact)), np.float32(way)))) - exact)
            for way in (-np.inf, np.inf)
        )


@needs_gcc
@pytest.mark.all
def test_a_compiler_that_contracts_is_found_and_one_that_is_hostile_too(tmp_path):
    """The self-test of a file whose weight is changed returns the first step that differs."""
    cs.seed(0)
    x = np.random.default_rng(0).random((30, 1, 8)) < 0.5
    x[:4] = False
    written = cs.export_c(cs.Sequential(dense(8, 4), cs.LIF()), tmp_path / "net", recording=x)
    text = written.source.read_text()
    changed = re.sub(r"(net_weight_0\[32\] = \{\s*-?0x1\.)[0-9a-f]", r"\g<1>5", text)
    changed = changed if changed != text else re.sub(r"(net_weight_0\[32\] = \{\s*-?0x1\.)[0-9a-f]", r"\g<1>6", text)
    written.source.write_text(changed)
    first = 1 + int(np.flatnonzero(x[:, 0, 0])[0])
    assert compiled(written).net_selftest() == first


def test_names_of_layers_cannot_write_c(tmp_path):
    class Hostile(cs.Dense):
        def __repr__(self):
            return '*/ int main(void) { return 1; } /* " \\\n #error'

    written = cs.export_c(cs.Sequential(Hostile(4, 3), cs.LIF()), tmp_path / "net")
    for path in (written.source, written.header):
        text = path.read_text()
        code = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
        assert "main" not in code
        assert "#error\n" not in code
    if shutil.which("gcc"):
        assert compiled(written).net_selftest() == 0


@pytest.mark.parametrize(
    ("layers", "argument", "why"),
    [
        (lambda: [cs.layers.Decimate(2)], {"input_shape": 3}, "layer 0 Decimate(2) keeps no state"),
        (lambda: [cs.ConvTranspose(1, 1, 2)], {"recording": np.ones((1, 1, 3, 3, 1), np.float32)}, "takes numbers"),
        (lambda: [cs.Dense(3, 2)], {"name": "2nd"}, "name must be"),
        (lambda: [cs.Conv(1, 1, 2)], {}, "recording or input_shape is needed"),
        (lambda: [lambda x: x], {"input_shape": 3}, "layer 0"),
    ],
)
def test_what_cannot_become_c_is_refused_in_a_line(layers, argument, why, tmp_path):
    with pytest.raises((ValueError, TypeError), match=re.escape(why)) as caught:
        cs.export_c(cs.Sequential(*layers()), tmp_path / "net", **argument)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_checksum_tells_order_and_bits():
    words = np.arange(50, dtype=np.uint32)
    by_steps = 0
    for word in words.tolist():
        by_steps = (by_steps * 0x9E3779B1 + word) % 2**32
    assert checksum(words) == by_steps != checksum(words[::-1])


@pytest.mark.all
def test_the_file_names_nothing_but_its_own(tmp_path):
    """Every name of a file's own begins with NAME_."""
    cs.seed(0)
    net = cs.Sequential(*NETWORKS["images"][1]())
    written = cs.export_c(net, tmp_path / "a", "vision", input_shape=IMAGE)
    symbols = re.findall(
        r"^(?:static |const |typedef |enum |void |int |u?int\d+_t |float )+\*?(\w+)[\[(;]",
        written.source.read_text(),
        re.M,
    )
    assert symbols
    assert all(symbol.startswith("vision_") for symbol in symbols)


@needs_gcc
@pytest.mark.all
def test_a_network_from_nir_leaves_as_c(tmp_path):
    pytest.importorskip("nir")
    cs.seed(0)
    net = cs.Network("8x8x2-4c3-2a-10", cs.CUBA(tau_i=5.0, tau_v=15.0))
    cs.export_nir(net, tmp_path / "net.nir")
    x = np.random.default_rng(0).random((60, 8, 8, 2)) < 0.3
    check_equal(cs.import_nir(tmp_path / "net.nir"), x, tmp_path)
