"""`Loader` on a GPU, of which a stand-in takes the place: the spikes of the CPU's batches, packed; what is sent."""

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer import backend
from cuslayer.data import Arrays, EventFolder, Events, Loader, write_events
from cuslayer.data import packed as packing
from cuslayer.data.batches import Shares
from cuslayer.data.fast_binning import pack_recordings
from cuslayer.kernels.spikes.packed import PackedSpikes
from tests.data.test_batches import CASES
from tests.support.packed_bits import packed_on_host
from tests.support.refused import refuses
from tools.fake_cupy import counted, strict

pytestmark = pytest.mark.all

RESIDENT = (None, "cuda")
DEVICES = ["stand-in", *([] if backend._driver_problem() else [pytest.param("cuda", marks=pytest.mark.gpu)])]


@contextmanager
def on_cuda(device="stand-in"):
    """The device "cuda" is in use, a stand-in takes its place unless a card is wanted."""
    with strict() if device == "stand-in" else nullcontext() as driver:
        cs.use("cuda")
        try:
            yield driver
        finally:
            cs.use("cpu")


def recording(seed, count, shape=(3, 34, 2)):
    """Return events, half of them at the borders of bins, some after 40 ms and some twice."""
    rng = np.random.default_rng((seed, count))
    t = np.where(rng.random(count) < 0.5, rng.integers(0, 60, count), rng.uniform(0, 50, count))
    places = [rng.integers(0, side, count) for side in shape]
    again = rng.integers(0, max(count, 1), count // 4)
    t, places = np.append(t, t[again]), [np.append(place, place[again]) for place in places]
    return Events(t, places[0]) if len(shape) == 1 else Events(t, places[1], places[0], places[2])


def images():
    """Return recordings of an event camera, two of them without an event."""
    sizes = (30, 0, 200, 1, 0, 7, 90, 3, 12, 40)
    return Arrays([recording(0, count) for count in sizes], np.arange(10) % 3, shape=(3, 34, 2))


def flat():
    return Arrays([recording(1, count, (33,)) for count in (30, 0, 200, 1, 5)], np.arange(5), shape=33)


def dense(*shape):
    """Return arrays of spikes of unequal length."""
    rng = np.random.default_rng(2)
    return Arrays([rng.random((steps, *shape)) < 0.3 for steps in (40, 9, 40, 1, 31)], np.arange(5))


class Own:
    """A data set of Events and arrays, without labels of its own, which counts what is read."""

    shape, classes = (2, 5, 2), 4

    def __init__(self, kinds=(Events, np.ndarray)):
        self.kinds, self.read = kinds, 0

    def __len__(self):
        return 4

    def __getitem__(self, index):
        self.read += 1
        events = recording(index, 9, self.shape)
        return (events if self.kinds[index % len(self.kinds)] is Events else events.to_spikes(self.shape, 60)), index


DATA = {
    "images": images,
    "flat": flat,
    "dense": lambda: dense(33),
    "dense images": lambda: dense(3, 17, 2),
}


def batches(data, **options):
    return list(Loader(data, 3, steps=40, seed=2, **options))


def same_as(ours, theirs):
    """Check spikes on the GPU, in both layouts, against the booleans of the CPU."""
    assert isinstance(ours, PackedSpikes)
    expected = packed_on_host(theirs)
    assert (ours.shape, ours.line) == (expected.shape, expected.line)
    assert isinstance(ours.words, backend.cupy().ndarray)
    np.testing.assert_array_equal(backend.to_numpy(ours.words), expected.words)
    if ours.by_neuron is not None:
        np.testing.assert_array_equal(backend.to_numpy(ours.by_neuron), expected.by_neuron)
    if theirs.size < 20_000:  # the emulator is slow
        np.testing.assert_array_equal(np.asarray(ours), theirs)


@pytest.mark.filterwarnings("ignore::UserWarning")  # events past short windows
@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=100)
@given(CASES, st.booleans(), st.sampled_from([None, 1, 2]))
def test_batches_are_those_of_a_loop(device, case, resident, micro):
    """Also in parts, and of recordings that stay on the GPU where they may."""
    signals = not isinstance(case.x[0], Events) and case.x[0].dtype != bool
    resident = "cuda" if resident and not (case.options["transform"] or case.lengths or signals) else None
    with on_cuda(device):
        loader = Loader(case.data, **case.options, resident=resident)
        for epoch in range(2):
            pairs, parts = loader, case.parts(epoch)
            if micro is not None:
                pairs = [pair for share, _ in Shares(loader, micro, range) for pair in share.pairs]
                parts = [part[at : at + micro] for part in parts for at in range(0, len(part), micro)]
            for (x, target), part in zip(pairs, parts, strict=True):
                frames, lengths, wanted = case.batch(part, epoch)
                assert (None if lengths is None else list(lengths)) == (x.lengths.tolist() if case.lengths else None)
                if frames.dtype == bool:
                    same_as(x.stored if isinstance(x, cs.Tensor) else x, frames)
                else:
                    x = x.numpy() if isinstance(x, cs.Tensor) else x
                    assert (type(x), x.dtype, x.tobytes()) == (np.ndarray, frames.dtype, frames.tobytes())
                assert (type(target), target.dtype, target.tobytes()) == (np.ndarray, wanted.dtype, wanted.tobytes())
                target[:] = 0  # a batch may be written to


@pytest.mark.parametrize("rounding", ["floor", "nearest"])
def test_bins_of_files_and_of_events_are_the_cpus(rounding, tmp_path):
    for number in range(3):
        recorded = recording(number, 200, (6, 11, 2))
        write_events(tmp_path / f"{number}.bs2", recorded)
    (tmp_path / "list.txt").write_text("0 0\n1 1\n2 2")
    data = EventFolder(tmp_path, tmp_path / "list.txt", shape=(6, 11, 2))
    (theirs, _), *_ = Loader(data, 3, steps=35, dt=0.3, rounding=rounding)
    with on_cuda() as driver:
        loader = Loader(data, 3, steps=35, dt=0.3, rounding=rounding)
        same_as(loader[0][0], theirs)
        loader._fast_binning = lambda samples, misfits: None
        same_as(loader[0][0], theirs)
        assert driver.launches.count("set_bits") == 2


def test_events_and_arrays_together_are_sent_as_bits():
    theirs = batches(Own())
    with on_cuda():
        for (x, _), (frames, _) in zip(batches(Own()), theirs, strict=True):
            same_as(x, frames)


def uploads(costs):
    """Return the bytes of each copy to the device."""
    return [operation.bytes for operation in costs.operations if operation.kind == "upload"]


def launched(costs):
    """Return the names of all operations on the device."""
    return [operation.name for operation in costs.operations if operation.kind != "upload"]


def test_a_batch_of_events_is_one_copy_and_one_kernel():
    data = images()
    with on_cuda(), counted() as costs:
        x, _ = Loader(data, 10, steps=60)[0]
        # Four bytes an event, and eight for each place and number of a recording.
        assert uploads(costs) == [4 * sum(len(data[i][0]) for i in range(10)) + 8 * (11 + 10)]
        assert (x.shape, x.ndim, len(x), x.dtype, x.line) == ((60, 10, 3, 34, 2), 5, 60, bool, 68)
        assert (x.has_neurons, repr(x)) == (True, "PackedSpikes(shape (60, 10, 3, 34, 2))")
        assert launched(costs) == []
        assert (x.words.shape, x.by_neuron.shape) == ((600, 3, 3), (204, 10, 2))
        x.reshape(600, 204), cs.Tensor(x).stored.words, x.frames, x.lines
        assert launched(costs) == ["set_bits"]
        assert len(uploads(costs)) == 1


def test_a_batch_of_arrays_is_one_copy_of_their_bits():
    with on_cuda(), counted() as costs:
        x, _ = Loader(dense(33), 5, steps=40)[0]
        assert (x.has_neurons, x.words.shape) == (False, (200, 1, 2))
        assert launched(costs) == []
        assert uploads(costs) == [40 * 5 * 8]


@pytest.mark.parametrize(("name", "kernel"), [("images", "set_bits"), ("dense", "take")])
def test_batches_of_resident_recordings_send_their_numbers_only(name, kernel):
    with on_cuda():
        loader = Loader(DATA[name](), 4, steps=40, shuffle=True, seed=0, resident="cuda")
        loader[0]
        with counted() as costs:
            lengths = [8 * len(labels) for _ in range(2) for x, labels in loader if len(x.words)]
        assert uploads(costs) == lengths
        assert launched(costs) == [kernel] * len(lengths)


@pytest.mark.parametrize("resident", RESIDENT)
@pytest.mark.parametrize("name", ["images", "flat", "dense", "dense images"])
def test_batches_are_written_straight_into_the_memory_of_others(name, resident):
    """Of one whole batch after another, as into the input of a captured step."""
    theirs = batches(DATA[name](), shuffle=True, drop_last=True)
    with on_cuda():
        ours = batches(DATA[name](), shuffle=True, drop_last=True, resident=resident)
        held = ours[0][0].empty_like()
        for (x, _), (frames, _) in zip(ours, theirs, strict=True):
            with counted() as costs:
                x.write(held)
            assert len(costs.operations) == 1
            same_as(held, frames)
        # Spikes that are there already are copied, in the same layouts.
        again = held.empty_like()
        PackedSpikes(x.words, x.shape, x.line, x.by_neuron).write(again)
        same_as(again, frames)
        assert (again.by_neuron is None) == name.startswith("dense")


def test_recordings_are_read_once_if_resident():
    data = Own((Events,))
    with on_cuda():
        loader = Loader(data, 2, steps=40, resident="cuda")
        assert data.read == 0
        list(loader), list(loader), loader[0]
        assert data.read == 4


def test_free_memory_is_that_of_the_device_and_of_the_pool(monkeypatch):
    with on_cuda():
        cupy = backend.cupy()
        monkeypatch.setattr(cupy.cuda.runtime, "memGetInfo", lambda: (100, 900))
        monkeypatch.setattr(cupy, "get_default_memory_pool", lambda: SimpleNamespace(free_bytes=lambda: 20))
        assert backend.free_memory() == 120
    with refuses("device: cuda is out of reach: no driver"):
        monkeypatch.setattr(backend, "_driver_problem", lambda: "no driver")
        backend.free_memory()


def test_all_resident_recordings_together_must_fit(monkeypatch):
    part = packing.pack_frames(np.ones((10, 5, 33), bool)), np.zeros(5, np.int64)
    with on_cuda():
        monkeypatch.setattr(backend, "free_memory", lambda: 2 * part[0].words.nbytes)
        packing.Resident([part] * 2, 10, (33,))
        with pytest.raises(ValueError, match=r"^resident recordings must fit into the GPU's 0\.0 MB free, got "):
            packing.Resident([part] * 3, 10, (33,))


def test_errors_and_warnings_are_the_cpus():
    outside = Arrays([Events([1.0], [9], [0], [0])], [0], shape=(3, 10, 2))
    outside.shape = (3, 9, 2)
    late = Arrays([Events([5000.0], [3])], [0], shape=4)
    with on_cuda():
        for resident in RESIDENT:
            with refuses("Loader: sample 0: events must lie within the sensor (3, 9, 2) (H, W, C), event 0 is at"):
                Loader(outside, 1, steps=9, resident=resident)[0]
        with pytest.warns(UserWarning, match=r"^Loader: sample 0: all of the 1 events lie past the window"):
            Loader(late, 1, steps=9, resident="cuda")[0]


@settings(max_examples=40)
@given(st.lists(st.integers(0, 300), min_size=1, max_size=4), st.integers(0, 2**32 - 1), st.booleans())
def test_wide_events_hold_step_and_neuron(counts, seed, wide):
    rng = np.random.default_rng(seed)
    binned = [(rng.integers(0, 40, count), rng.integers(0, 70, count)) for count in counts]
    with pytest.MonkeyPatch.context() as patch:
        if wide:
            patch.setattr(packing, "event_fields", lambda steps, features: (2, 33))
        found = packing.pack_bins(binned, 40, 70)
    assert found.events.shape == (sum(counts), 1 + wide)
    for i, (step, feature) in enumerate(binned):
        part = found.events[found.begin[i] : found.begin[i + 1]]
        expected = np.stack([feature, step], axis=1) if wide else (step << 7 | feature)[:, None]
        np.testing.assert_array_equal(part, expected)


@pytest.mark.parametrize("wide", [False, True])
def test_bytes_of_files_are_packed_as_their_events(wide, monkeypatch):
    if wide:
        monkeypatch.setattr(packing, "event_fields", lambda steps, features: (2, 33))
        monkeypatch.setattr("cuslayer.data.fast_binning.event_fields", lambda steps, features: (2, 33))
    raw = bytes([3, 1]) + (1 << 23 | 7900).to_bytes(3, "big"), bytes([0, 2]) + (9000).to_bytes(3, "big")
    found = pack_recordings([raw[0] + raw[1], raw[1]], (3, 4, 2), 9, 1.0, "floor")
    assert found is not None
    empty = np.empty(0, np.int64)
    expected = packing.pack_bins([(np.array([7]), np.array([(4 + 3) * 2 + 1])), (empty, empty)], 9, 24)
    np.testing.assert_array_equal(found[0].events, expected.events)
    assert found[0].begin.tolist() == expected.begin.tolist() == [0, 1, 1]
    assert found[1].tolist() == [1, 0]
    assert pack_recordings([raw[0], b""], (3, 4, 2), 9, 1.0, "floor") is None
    assert pack_recordings([raw[0]], (1, 4, 2), 9, 1.0, "floor") is None


@pytest.mark.parametrize("loss", [cs.MeanSquaredErrorLoss("last"), cs.BinaryCrossEntropyLoss("max")], ids=repr)
def test_a_step_of_padded_recordings_is_the_cpus(loss):
    """Calibration pads them too; of several labels and numbers."""
    x = [spikes[:length] for spikes, length in zip(dense(6)._x, (40, 9, 40, 1, 31), strict=True)]
    scores = []
    for device in (nullcontext, on_cuda):
        with device():
            cs.seed(0)
            net = cs.Sequential(cs.Dense(6, 4), cs.LIF(), cs.Dense(4, 3))
            trainer = cs.training.Trainer(net, loss, cs.SGD(net.parameters(), lr=0.01))
            y = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 0, 1], [1, 1, 1]])
            scores.append(trainer.train(Loader(Arrays(x, y), 2)))
    assert scores[0].loss == pytest.approx(scores[1].loss, rel=1e-4)
    assert scores[0].accuracy == scores[1].accuracy
