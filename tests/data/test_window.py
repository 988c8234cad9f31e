"""Warnings of event times that do not fit the window, and of steps that do not fit a unit."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.data import Arrays, Digits, EventFolder, Events, FromStart, Loader, Subset, write_events

SMALL = Path(__file__).parents[3] / "shared/data/nmnist-small"
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


def test_a_short_window_may_miss_some_recordings():
    some = [recording(0), recording(1, start=60.0), Events([], [], [], [])]
    data = Arrays(some, [0, 1, 2], shape=SENSOR)
    assert not warned(lambda: list(Loader(data, 3, steps=50)))
    (message,) = warned(lambda: list(Loader(data, 1, steps=50)))  # a batch of its own
    assert message.startswith("Loader: sample 1: all of the 500 events lie past the window of 50 ms")
    far = Arrays([recording(0), recording(1, start=101.0)], [0, 1], shape=SENSOR)
    assert len(warned(lambda: list(Loader(far, 2, steps=50)))) == 1
    assert not warned(lambda: list(Loader(Arrays([recording(0), recording(1, start=101.0)], [0, 1]), 2, steps=60)))


@pytest.mark.parametrize("late", [0, 5])
def test_one_late_file_among_many_that_fit_does_not_warn(tmp_path, late):
    for number in range(6):
        write_events(tmp_path / f"{number}.bs2", recording(number, start=60.0 if number == late else 0.0))
    (tmp_path / "list.txt").write_text("".join(f"{number} 0\n" for number in range(6)))
    data = EventFolder(tmp_path, tmp_path / "list.txt")
    assert not warned(lambda: list(Loader(data, 6, steps=50)))
    (message,) = warned(lambda: list(Loader(data, 1, steps=50)))  # a batch of its own
    assert message.startswith(f"Loader: {tmp_path / f'{late}.bs2'}: all of the 500 events lie past the window of 50 ms")


def test_microseconds_warn_once_for_a_data_set():
    data = dataset(unit=1000.0)
    messages = warned(lambda: [list(Loader(data, 2, steps=300)) for _ in range(2)])
    assert len([m for m in messages if "look like microseconds" in m]) == 1
    assert len(messages) == 1


def test_microseconds_are_described():
    events = Events([10.0, 150_000.0, 290_000.0], [0, 1, 2], [0, 0, 0], [0, 1, 1])
    (message,) = warned(lambda: events.to_spikes(SENSOR, 300))
    assert message == (
        "to_spikes: times are in ms, and these look like microseconds: their median is 150000 and the window has 300 "
        "ms; divide them by 1000"
    )
    (message,) = warned(lambda: Events([5e3, 6e3], [0, 1], None, [0, 0]).to_spikes(3, 100, dt=0.5))
    assert (
        message == "to_spikes: all of the 2 events lie past the window of 50 ms (100 steps of 0.5 ms), from 5000 ms on"
    )


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
        "Shift": lambda: cs.Shift(dt, dt=dt),
        "encode_poisson": lambda: cs.encode_poisson(image, steps=2, dt=dt),
        "running_decision": lambda: cs.running_decision(spikes, dt=dt),
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
        for constants in (
            {},
            {"dt": 0.1},
            {"tau_sr": 1.0},
            {"dt": 20.0},
            {"tau_sr": 0.5},
            {"dt": 0.01},
            {"dt": 2.0, "tau_ref": 1.0},
        ):
            cs.SRM(**constants)
