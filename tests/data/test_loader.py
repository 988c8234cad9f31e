"""`Loader`: batches, order, background thread, errors; data sets that users write."""

import re
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer import backend
from cuslayer.data import Arrays, Digits, EventFolder, Events, FromStart, Loader, Subset, write_events
from tests.support.event_bytes import Files
from tests.support.refused import refused, refuses


class Numbered:
    """Sample i has one event, at i ms and pixel i, and class i."""

    duration = 20.0

    def __init__(self, samples=10, shape=(2, 5, 2), broken=None):
        self.samples, self.shape, self.classes, self.broken = samples, shape, samples, broken
        self.labels = np.arange(samples)
        self.read = []

    def __len__(self):
        return self.samples

    def __getitem__(self, index):
        self.read.append(index)
        if index == self.broken:
            raise ValueError(f"read_events: {index}.bs2 is empty")
        if len(self.shape) == 1:
            return Events([index], [index], None, [1]), index
        return Events([index], [index % 5], [index // 5], [1]), index


def order(loader):
    return [label for _, labels in loader for label in labels.tolist()]


def threads():
    return [t for t in threading.enumerate() if t.name.startswith("cuslayer-loader")]


def test_the_default_seed():
    backend.seed(3)
    loader = Loader(Numbered(), 3, steps=10, shuffle=True)
    backend.seed(3)
    assert Loader(Numbered(), 3, steps=10, shuffle=True).seed == loader.seed
    assert Loader(Numbered(), 3, steps=10, shuffle=True).seed != loader.seed


def test_the_next_batch_is_prepared_and_its_errors_reach_the_caller():
    data = Numbered()
    batches = iter(Loader(data, 2, steps=10))
    next(batches)
    batches.close()  # waits for what the thread was given
    assert data.read == [0, 1, 2, 3]
    seen = []
    with pytest.raises(ValueError, match=r"^read_events: 5\.bs2 is empty$"):  # noqa: PT012
        for _, labels in Loader(Numbered(broken=5), 2, steps=10):
            seen += labels.tolist()
    assert seen == [0, 1, 2, 3]
    assert threads() == []
    data = Numbered()
    data.shape = (1, 5, 2)
    refused(
        "Loader: sample 5: events must lie within the sensor (1, 5, 2) (H, W, C), event 0 is at",
        lambda: list(Loader(data, 10, steps=10)),
    )


def test_no_thread_is_left():
    loader = Loader(Numbered(), 2, steps=10)
    list(loader)
    assert threads() == []
    for _ in loader:
        assert len(threads()) == 1
        break
    assert threads() == []
    batches = iter(loader)
    next(batches)
    del batches
    assert threads() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rounding": "flor"}, "rounding must be one of floor, nearest"),
        ({"dataset": Numbered(0)}, "dataset must hold a recording"),
        ({"batch": 11, "drop_last": True}, "batch must be at most 10 for drop_last to leave one"),
    ],
)
def test_loader_with_invalid_arguments_raises(arguments, message):
    refused(f"Loader: {message}", lambda: Loader(**({"dataset": Numbered(), "batch": 2, "steps": 10} | arguments)))


class Own:
    """A data set of the four members of the interface, which returns what it is given."""

    shape = (3,)
    classes = 2

    def __init__(self, *samples):
        self.samples = samples

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


EVENTS = Events([0.5, 2.0], [0, 2], None, [0, 0])
SPIKES = np.array([[True, False, False], [False, False, False], [False, False, True]])


def test_recordings_are_events_or_arrays():
    for samples in (
        [(EVENTS, 0), (EVENTS, 1)],
        [(SPIKES, 0), (SPIKES, np.int8(1))],
        [(EVENTS, 0), [SPIKES, np.array(1)]],
    ):
        ((x, labels),) = Loader(Own(*samples), 2, steps=3)
        assert (x.dtype, labels.dtype, labels.tolist()) == (np.bool_, np.int64, [0, 1])
        assert (x == SPIKES[:, None]).all()
    ((x, _),) = Loader(Own((SPIKES * 0.5, 0), (SPIKES, 1)), 2, steps=4)
    assert x.dtype == np.float64
    assert (x[:3, 0] == SPIKES * 0.5).all()
    ((x, _),) = Loader(Own((cs.Tensor(SPIKES * np.float32(2)), 0)), 2, steps=2)
    assert (x.dtype, x.shape) == (np.float32, (2, 1, 3))


def test_targets_of_several_kinds():
    trains, numbers = np.ones((2, 4), bool), [1.0, 0.5]
    several = np.array([1, 0, 1])  # labels of a sample, or of each step where there are as many steps
    for x, first, second in (
        (EVENTS, trains, 0),
        (EVENTS, numbers, trains),
        (SPIKES[:2], several, several),
    ):
        refused(
            "Loader: labels must be of one kind",
            lambda s=((x, first), (SPIKES, second)): list(Loader(Own(*s), 2, steps=3)),
            "; the data set's targets says which, as in Arrays",
        )
    for kind, first, second in (("numbers", numbers, [0.5]), ("trains", trains, trains[:, 1:])):
        rule = f"labels that are {kind} must have one shape of outputs"
        refused(f"Loader: {rule}", lambda s=((EVENTS, first), (EVENTS, second)): list(Loader(Own(*s), 2, steps=3)))


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (EVENTS, "a data set must return (recording, label)"),
        ((EVENTS, 0, 1), "a data set must return (recording, label)"),
        ((EVENTS, 2), "label must be a class from 0 to 1"),
        ((EVENTS, -1), "label must be a class from 0 to 1"),
        (
            (EVENTS, 1.0),
            'label must be the class, an integer from 0, got float 1.0; a data set of numbers has targets = "numbers"',
        ),
        ((EVENTS, "cat"), "label must be the class, an integer from 0"),
        ((EVENTS, ["0", "1"]), "label must be the class, an integer from 0"),
        ((SPIKES[:, :2], 0), "a recording must be Events or (T, 3)"),
        ((SPIKES[:, None], 0), "a recording must be Events or (T, 3)"),
        (("1.bs2", 0), "a recording must be an array"),
        ((None, 0), "a recording must be an array of booleans or numbers"),
    ],
)
def test_what_a_data_set_must_return(sample, message):
    refused(f"Loader: sample 0: {message}", lambda: list(Loader(Own(sample), 1, steps=3)))


@pytest.mark.parametrize(
    ("dataset", "got"),
    [
        ([1], "list; make one of recordings and labels by Arrays(x, y)"),
        ((SPIKES, [0]), "tuple; make one of recordings and labels by Arrays(x, y)"),
        (SPIKES, "ndarray; make one of recordings and labels by Arrays(x, y)"),
        (cs.Tensor(SPIKES), "Tensor; make one of recordings and labels by Arrays(x, y)"),
        ("recordings", "the path 'recordings'; train, test = open_folder(path) opens a folder"),
        (Path("here/there"), "the path 'here/there'; train, test = open_folder(path) opens a folder"),
        ((Own(), Own()), "a tuple of 2; take one of them, as in train, test = open_folder(path)"),
        (Digits, "the class Digits; call it"),
        (range(3), "range, which has no shape"),
    ],
)
def test_what_is_no_data_set(dataset, got):
    refused("Loader: dataset must be a data set", lambda: Loader(dataset, 2, steps=10), f"got {got}")


def test_the_number_of_steps_of_events_is_needed():
    with refuses("Loader: steps must be given for recordings of events, the number of bins"):
        Loader(Own((EVENTS, 0)), 1)
    with refuses("Loader: steps must be given for a data set without steps, the length T"):
        Loader(Own((np.ones((5, 2), bool), 0)), 1)
    data = Own((EVENTS, 0))
    data.shape = ()
    refused("Loader: dataset.shape must have an axis", lambda: Loader(data, 1, steps=3))
    data.shape = (2, 3)
    with refuses("Loader: sample 0: shape must be (H, W, C), or a number of neurons"):
        list(Loader(data, 1, steps=3))


def test_a_batch_out_of_range_is_refused():
    loader = Loader(Arrays(np.zeros((7, 5, 3), bool), [0] * 7), 3)
    for index in (3, -4):
        with refuses("Loader: index must lie within 3 batches"):
            loader[index]
    refused("Loader: index must be an integer", lambda: loader[:2])


# Warnings of event times that do not fit the window, and of steps that do not fit a unit


SENSOR = (34, 34, 2)


def recording(seed=0, events=500, duration=300.0, start=0.0, unit=1.0):
    """Return a recording of whole microseconds, its times multiplied by a unit."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, round(1000 * duration), events)) / 1000.0
    x, y = rng.integers(34, size=(2, events))
    return Events((t + start) * unit, x, y, rng.integers(2, size=events))


def dataset(**options):
    return Arrays([recording(seed, **options) for seed in range(6)], [0, 1, 2, 0, 1, 2], shape=SENSOR)


def warned(run):
    """Return the messages of the warnings of a call, each of one line, which name this file."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        run()
    assert all(each.category is UserWarning and each.filename == __file__ for each in found)
    messages = [str(each.message) for each in found]
    assert not any("\n" in message for message in messages)
    return messages


def test_events_past_the_window_warn_once_for_a_data_set():
    late = dataset(start=400.0)
    loader = Loader(late, 2, steps=300, shuffle=True, seed=0)
    (message,) = warned(lambda: [list(loader), list(loader), list(Loader(late, 3, steps=200))])
    begin = r"^Loader: sample \d: all of the 500 events lie past the window of 300 ms \(300 steps of 1 ms\), from 40\d"
    assert re.match(begin, message)
    assert warned(lambda: list(Loader(dataset(start=400.0), 6, steps=300)))  # another data set


def test_one_late_recording_warns_by_its_name(tmp_path):
    for number in range(4):
        write_events(tmp_path / f"{number}.bs2", recording(number, start=900.0 if number == 2 else 0.0))
    (tmp_path / "list.txt").write_text("".join(f"{number} 0\n" for number in range(4)))
    data = EventFolder(tmp_path, tmp_path / "list.txt")
    (message,) = warned(lambda: [list(Loader(data, 4, steps=300)) for _ in range(2)])
    assert message.startswith(f"Loader: {tmp_path / '2.bs2'}: all of the 500 events lie past the window of 300 ms")
    data = EventFolder(tmp_path, tmp_path / "list.txt")
    (message,) = warned(lambda: list(Loader(Subset(data, [2, 1]), 1, steps=300)))
    assert "2.bs2: all of the 500" in message
    assert not warned(lambda: list(Loader(data, 4, steps=300, transform=FromStart())))


@settings(max_examples=80)
@given(
    st.lists(st.none() | st.integers(0, 250), min_size=1, max_size=4),
    st.sampled_from([5, 30, 49, 50, 51, 90]),
    st.sampled_from([0.5, 1.0, 2.0]),
    st.sampled_from([Arrays, Files]),
)
def test_a_short_window_may_miss_some_recordings(starts, steps, dt, kind):
    """A batch warns if all its recordings are late, or of one that begins after 100 ms and twice the window."""
    parts = [[] if start is None else [start, start + 0.25, start + 300.0] for start in starts]
    zeros = [np.zeros(len(part), int) for part in parts]
    data = kind([Events(t, z, z, z) for t, z in zip(parts, zeros, strict=True)], [0] * len(parts), shape=(2, 2, 1))
    late = [i for i, start in enumerate(starts) if start is not None and start >= steps * dt]
    far = [i for i in late if starts[i] >= 100 and starts[i] >= 2 * steps * dt]
    all_late = len(late) == len(starts) - starts.count(None)
    messages = warned(lambda: list(Loader(data, 4, steps=steps, dt=dt)))
    assert [message.split(": ")[1] for message in messages] == [f"sample {i}" for i in (far or late * all_late)[:1]]


def test_microseconds_warn_once_for_a_data_set():
    data = dataset(unit=1000.0)
    messages = warned(lambda: [list(Loader(data, 2, steps=300)) for _ in range(2)])
    assert len([m for m in messages if "look like microseconds" in m]) == 1
    assert len(messages) == 1


def test_microseconds_are_described():
    events = Events([10.0, 150_000.0, 290_000.0], [0, 1, 2], [0, 0, 0], [0, 1, 1])
    (got,) = warned(lambda: events.to_spikes(SENSOR, 300))
    assert got == (
        "to_spikes: times are in ms, and these look like microseconds: their median is 150000 and the window has 300 "
        "ms; divide them by 1000"
    )
    (got,) = warned(lambda: Events([5e3, 6e3], [0, 1], None, [0, 0]).to_spikes(3, 100, dt=0.5))
    assert got == "to_spikes: all of the 2 events lie past the window of 50 ms (100 steps of 0.5 ms), from 5000 ms on"


def test_recordings_of_milliseconds_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for steps, dt in ((300, 1.0), (3000, 0.1), (150, 2.0), (10, 1.0), (100, 0.1)):
            list(Loader(dataset(), 6, steps=steps, dt=dt))
        for steps in (20, 300):
            list(Loader(Digits("test"), 100, steps=steps))
        # Long recordings in short windows: a gesture of 6 s, a minute of a camera, ten seconds of a simulation.
        for duration, steps, unit in ((6e3, 10, 1.0), (6e4, 100, 1.0), (1e4, 100, 1.0)):
            long = recording(events=20_000, duration=duration, unit=unit)
            assert len(long.to_spikes(SENSOR, steps)) == steps
        whole = Events(np.arange(10_000.0), np.zeros(10_000, int), None, np.zeros(10_000, int))
        whole.to_spikes(1, 100)
        Events([], [], None, []).to_spikes(1, 5)


@pytest.mark.parametrize(("dt", "unit"), [(0.001, "seconds"), (1e-4, "seconds"), (1000.0, "microseconds")])
def test_a_step_of_another_unit_warns(dt, unit):
    rule = f"dt is in ms, and {dt:g} ms looks like {unit}; 1 ms is dt=1.0"
    image, spikes = np.full((1, 2), 0.5), np.zeros((3, 1, 2), bool)
    calls = {
        "Loader": lambda: Loader(dataset(), 2, steps=3, dt=dt),
        "Arrays": lambda: Arrays(np.zeros((1, 2, 1), bool), [0], dt=dt),
        "from_spikes": lambda: Events.from_spikes(np.zeros((2, 1), bool), dt=dt),
        "to_spikes": lambda: Events([0.0], [0], None, [0]).to_spikes(1, 2, dt=dt),
        "SRM": lambda: cs.SRM(dt=dt),
        "Loihi": lambda: cs.Loihi(dt=dt),
        "Delay": lambda: cs.Delay(2, dt=dt),
        "Shift": lambda: cs.layers.Shift(dt, dt=dt),
        "encode_poisson": lambda: cs.encode_poisson(image, steps=2, dt=dt),
        "running_decision": lambda: cs.loss.running_decision(spikes, dt=dt),
    }
    for op, call in calls.items():
        assert warned(call)[:1] == [f"{op}: {rule}"], op


def test_a_response_shorter_than_a_step_warns():
    rule = "SRM: dt must be less than 5 tau_sr for the response to have a sample near its peak, got"
    assert warned(lambda: cs.SRM(tau_sr=0.01)) == [f"{rule} 1 and 0.01, both in ms"]  # 10 ms as seconds
    assert warned(lambda: cs.SRM(dt=51.0)) == [f"{rule} 51 and 10, both in ms"]
    (message,) = warned(lambda: cs.SRM(dt=0.005))
    assert message == "SRM: dt must be at least a thousandth of tau_sr, got 0.005 and 10, both in ms"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cs.SRM(dt=2.0, tau_ref=1.0)
        for tau_sr, dt in ((10.0, 1.0), (10.0, 0.1), (1.0, 1.0), (10.0, 20.0), (0.5, 1.0), (10.0, 0.01)):
            cs.SRM(tau_sr=tau_sr, dt=dt)
