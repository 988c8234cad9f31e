"""Wrong arguments of public names, drawn from their signatures: an error of one line names operation and argument."""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer import data, inspection, layers, loss, neurons, optim, plot
from cuslayer import functions as f
from cuslayer.data import augment
from cuslayer.distributed import DataParallel
from cuslayer.interchange import export_hdf5
from cuslayer.plasticity import STDP
from cuslayer.surrogates import MultiGaussian
from cuslayer.training import EarlyStopping

SRM = cs.SRM()
NET = cs.Network("4-3", SRM)
X, FRAMES, WEIGHT = np.ones((5, 2, 4), np.float32), np.ones((2, 1, 5, 5, 2), np.float32), np.ones((3, 3, 2, 2))
SPIKES, LABELS = np.ones((5, 2, 4), bool), [0, 1]
PICTURES = np.ones((5, 2, 3, 3, 2), bool)
SET = data.Arrays(np.ones((4, 5, 3), bool), [0, 1, 0, 1])
BANDS = data.Bands(8000.0)
PARAMETERS = NET.parameters()

# What each of them needs to be called.
ALONE = [
    *(cs.LIF, cs.CUBA, cs.SRM, cs.AdaptiveLIF, cs.AdLIF, cs.Loihi, cs.neurons.ResonateAndFire, MultiGaussian),
    *(neurons.BalancedResonateAndFire, neurons.NormalizedALIF, neurons.SampledSRM, neurons.SigmaDelta),
    *(cs.BinaryCrossEntropyLoss, cs.CrossEntropyLoss, cs.MeanSquaredErrorLoss, loss.RateRegularizer, STDP),
    *(data.Crop, data.Delta, data.Flip, data.Latency, data.Levels, data.OtherPicture, data.Rate, DataParallel),
]
NEEDED = {kind: {} for kind in ALONE} | {
    cs.seed: {"value": 1},
    cs.Bounded: {"data": [1.0]},
    cs.Digits: {"split": "test"},
    cs.Loader: {"dataset": SET, "batch": 2},
    cs.Dense: {"in_features": 3, "out_features": 2},
    cs.Conv: {"in_channels": 2, "out_channels": 3, "kernel_size": 3},
    cs.ConvTranspose: {"in_channels": 2, "out_channels": 3, "kernel_size": 3},
    cs.ReadOut: {"in_features": 3, "out_features": 2},
    cs.Recurrent: {"layer": cs.Dense(3, 3), "neuron": SRM},
    cs.SumPool: {"kernel_size": 2, "gain": 1.0},
    layers.Unpool: {"kernel_size": 2, "gain": 1.0},
    cs.AvgPool: {"kernel_size": 2},
    cs.MaxPool: {"kernel_size": 2},
    cs.BatchNorm: {"features": 3},
    cs.Delay: {"features": 3, "dt": 1.0},
    cs.Dropout: {"p": 0.5},
    cs.SynapticDelays: {"max_delay": 3.0},
    layers.Average: {"groups": 2},
    layers.Decimate: {"factor": 2},
    layers.FilterBank: {"count": 2, "taps": 3},
    layers.KWinners: {"k": 2},
    layers.Shift: {"delay": 1.0},
    layers.TemporalFilter: {"neuron": SRM},
    cs.Network: {"notation": "4-3", "neuron": SRM},
    cs.Sequential: {"layers": (cs.Dense(3, 3),)},
    cs.Parallel: {"branches": (cs.Dense(3, 2), cs.Dense(3, 2))},
    cs.Residual: {"layers": (cs.Dense(3, 3),)},
    cs.SpikeCountLoss: {"neuron": SRM},
    cs.SpikeTimeLoss: {"neuron": SRM},
    loss.FirstSpikeLoss: {"neuron": SRM},
    loss.ProbabilityWindowLoss: {"neuron": SRM},
    loss.SpikeMaxLoss: {"neuron": SRM},
    loss.SpikeRateLoss: {"neuron": SRM},
    cs.SGD: {"parameters": PARAMETERS},
    cs.Adam: {"parameters": PARAMETERS},
    optim.NAdam: {"parameters": PARAMETERS},
    optim.cosine_decay: {"lr": 0.1, "epochs": 3},
    optim.step_decay: {"lr": 0.1},
    cs.Trainer: {"net": NET, "loss": cs.SpikeCountLoss(SRM), "optimizer": cs.SGD(PARAMETERS)},
    EarlyStopping: {"patience": 2},
    data.Arrays: {"x": np.ones((4, 5, 3), bool), "y": [0, 1, 0, 1]},
    data.AudioToNumbers: {"bands": BANDS, "duration": 100.0},
    data.AudioToSpikes: {"bands": BANDS, "codes": (data.Rate(),), "duration": 100.0},
    data.Bands: {"rate": 8000.0},
    data.Compose: {"steps": (data.FromStart(),)},
    data.Downsample: {"factor": 2},
    data.Drop: {"p": 0.1},
    data.Jitter: {"pixels": 1},
    data.Mask: {"ms": 1.0},
    data.RandomShift: {"ms": 1.0},
    data.YinYang: {"split": "test"},
    data.ShiftChannels: {"channels": 1},
    data.Stretch: {"factor": 1.1},
    augment.OtherVoice: {"to_numbers": data.AudioToNumbers(BANDS, 100.0)},
    data.split: {"dataset": SET, "test": 0.5},
}
RUN = {
    cs.encode_delta: {"x": X, "threshold": 0.5},
    cs.encode_latency: {"x": X[0], "steps": 5},
    cs.encode_poisson: {"x": X[0], "steps": 5},
    f.replicate: {"x": X[0], "steps": 3},
    f.dense: {"x": X, "weight": np.ones((4, 3))},
    f.conv: {"x": FRAMES, "weight": WEIGHT},
    f.conv_transpose: {"x": FRAMES, "weight": WEIGHT},
    f.shift: {"x": X, "delay": 1.0},
    f.fir: {"x": X, "weight": np.ones(3)},
    f.filter_bank: {"x": X, "weight": np.ones((2, 3))},
    f.max_pool: {"x": FRAMES, "kernel_size": 2},
    f.pool: {"x": FRAMES, "kernel_size": 2, "gain": 1.0},
    f.unpool: {"x": FRAMES, "kernel_size": 2, "gain": 1.0},
    f.quantize: {"w": X, "step": 0.5},
    f.decimate: {"x": X, "factor": 2},
    f.dropout: {"x": X, "p": 0.5},
    f.k_winners: {"x": X, "k": 1},
    f.moving_count: {"x": X, "width": 2},
    cs.classify: {"spikes": SPIKES},
    loss.coincidence_factor: {"spikes": SPIKES, "target": SPIKES},
    loss.confidence: {"spikes": SPIKES},
    loss.decision_time: {"spikes": SPIKES, "labels": LABELS},
    loss.running_decision: {"spikes": SPIKES},
    loss.van_rossum: {"a": SPIKES, "b": SPIKES, "tau": 5.0},
    cs.calibrate: {"net": NET, "batches": [SPIKES]},
    cs.diagnose: {"net": NET, "loader": [(SPIKES, LABELS)]},
    cs.explain: {"net": NET, "x": SPIKES, "layer": 1, "index": 0, "time": 2},
    cs.record: {"net": NET},
    inspection.count_operations: {"net": NET, "x": SPIKES},
    cs.write_report: {"net": NET, "samples": SPIKES, "path": "a.html"},
    cs.save: {"net": NET, "path": "a.npz"},
    export_hdf5: {"net": cs.Network("4-3", cs.Loihi()), "path": "a.net"},
    plot.animation: {"spikes": PICTURES},
    plot.frames: {"spikes": PICTURES},
    plot.raster: {"spikes": SPIKES},
    plot.confusion: {"labels": LABELS, "predicted": LABELS},
    plot.filters: {"of": np.ones((2, 3))},
    plot.learning_curves: {"epochs": []},
}
NEEDED |= RUN
# Numbers that may be 0, and that may be negative; texts that are no choice.
ZERO = """
value seed padding output_padding max_delay initial p momentum smoothing false SynapticDelays.width scale_ref cutoff
ref_cutoff rise q gamma h weight_decay warmup momentum_decay cosine_decay.least time sample accumulate
multiply_accumulate update low RateRegularizer.high weight lead horizontal vertical polarity ms pixels shift mirror
early fifth erase Mask.channels ShiftChannels.channels OtherVoice.gain replicate.steps soft
"""
NEGATIVE = """
SumPool.gain Unpool.gain pool.gain unpool.gain offset ignore wgt_exp Shift.delay Bounded.least Bounded.most
a_plus a_minus triplet_plus triplet_minus
"""
FREE = {"title", "path"}
UNDER_1 = {"p", "momentum", "smoothing", "gamma"}
NO_CHOICE = {"none": None, "flag": True, "word": "no such word", "half": 1.5, "nan": np.nan, "infinity": -np.inf}
NUMBERS = st.integers(-3, 9) | st.floats()
STRANGE = [*NO_CHOICE.values(), -1, 0, 10**30, 1e300, (), [1, 2, 3], ["a"], object(), {}, b"x", 1j, cs.LIF, len, "a\0b"]
STRANGE += [
    np.ones((2, 2)),
    np.array(["a"]),
    np.array([None, 1]),
    np.ones((0, 3)),
    [[1], [2, 3]],
    cs.Tensor([1.0, 2.0]),
]


def call(function, arguments):
    parameters, positional, arguments = inspect.signature(function).parameters.values(), [], dict(arguments)
    for p in parameters:
        if p.kind is p.VAR_POSITIONAL and p.name in arguments:
            positional += arguments.pop(p.name)
        elif p.kind is p.POSITIONAL_ONLY:
            positional.append(arguments.pop(p.name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = function(*positional, **arguments)
        if function is cs.record:
            with result:
                NET(SPIKES)


def error_of(function, name, value):
    """Call a function with a value; return the error, after a look at its form."""
    error = None
    try:
        call(function, NEEDED[function] | {name: value})
    except (ValueError, TypeError, IndexError, MemoryError) as problem:
        error = problem
    assert error is None or str(error).startswith(f"{error.operation}: "), f"{name}={value!r}"
    assert "\n" not in str(error)
    return error


def refused(function, name, value):
    error = error_of(function, name, value)
    named = function.__name__, True
    assert error is None or (error.operation, name in error.argument) == named, f"{name}={value!r}: {error}"
    return error is not None


def accepts(kinds, value):
    if value is None:
        return "None" in kinds
    if isinstance(value, (bool, str)):
        return type(value).__name__ in kinds
    return "float" in kinds and np.isfinite(value)


def checked(function):
    """Yield each parameter of numbers, flags or words, with its name here, and the kinds that it takes."""
    for name, p in inspect.signature(function).parameters.items():
        kinds = str(p.annotation).replace("Pair", "int").split(" | ")
        if set(kinds) <= {"int", "float", "bool", "str", "None"}:
            yield name, {name, f"{function.__name__}.{name}"}, kinds


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.close("all")


EACH = [pytest.param(each, marks=[pytest.mark.all] * (each in RUN), id=each.__name__) for each in NEEDED]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("function", EACH)
def test_a_wrong_argument_is_refused(function):
    call(function, NEEDED[function])
    for name, names, kinds in checked(function):
        for value in NO_CHOICE.values():
            if not accepts(kinds, value) or (value == "no such word" and not names & FREE):
                assert refused(function, name, value), f"{name}={value!r}"
        if "int" in kinds or "float" in kinds:
            assert not names & UNDER_1 or refused(function, name, 1)
            for value, taken in ((-1, NEGATIVE), (0, ZERO + NEGATIVE)):
                assert refused(function, name, value) != bool(names & {*taken.split()}), f"{name}={value}"

    for name, value in NEEDED[function].items():
        if name in ("x", "weight", "spikes", "a") and np.ndim(value) > 2:
            assert refused(function, name, np.ones(3)), name


@pytest.mark.all
@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("function", EACH)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(NUMBERS | st.text(st.characters(exclude_characters="/"), max_size=3) | st.lists(NUMBERS), min_size=1))
@example(STRANGE)
def test_any_other_argument_is_taken_or_refused_in_one_line(function, values):
    for name, p in inspect.signature(function).parameters.items():
        for value in values:
            error_of(function, name, (value,) if p.kind is p.VAR_POSITIONAL else value)
