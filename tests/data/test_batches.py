"""Batches of every kind of recording, target and option, and their shares, against batches that a loop fills."""

import math
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer._tape import as_tensor
from cuslayer.data import Arrays, Compose, Crop, Drop, Events, Flip, Loader, RandomShift, Subset, split
from cuslayer.data.batches import Shares
from tests.support.event_bytes import Files

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # events past short windows

STEPS_MS = (0.1, 0.3, 0.4, 0.5, 1.0, 1.2, 2.0, 2.5)
AT_EACH_STEP = ("steps", "trains", "values")


class Reversed:
    """Arrays backwards and twice: longer than they were."""

    of_signals = True

    def sensor(self, shape):
        return shape

    def __call__(self, recording, shape, rng):
        return np.concatenate([recording[::-1], recording])


class Joined:
    """Several data sets one after another, with all that a data set may have."""

    def __init__(self, *parts):
        self.parts = parts
        self.shape, self.dt, self.targets = parts[0].shape, parts[0].dt, parts[0].targets
        self.classes = max(part.classes for part in parts)
        if parts[0].lengths is not None:
            self.lengths = [length for part in parts for length in part.lengths]
            self.steps = max(part.steps for part in parts)

    def __len__(self):
        return sum(map(len, self.parts))

    def __getitem__(self, index):
        for part in self.parts:
            if index < len(part):
                return part[index]
            index -= len(part)
        raise IndexError(index)


@dataclass
class Case:
    """A data set, what a loader is told, and the recordings and targets as lists."""

    data: Any
    options: dict[str, Any]
    x: list[Any]
    y: list[Any]
    kind: str
    own: float | None
    most: int  # steps of the longest recording of the whole data set
    classes: int

    def __post_init__(self):
        self.dt = self.options["dt"] or self.own or 1.0
        self.own = self.own or self.dt
        self.rounding = self.options["rounding"]
        self.steps = self.options["steps"] or round(self.most * self.own / self.dt)
        shorter = any(not isinstance(x, Events) and len(x) < self.most for x in self.x)
        default = self.options["steps"] is None and shorter
        self.lengths = default if self.options["lengths"] is None else self.options["lengths"]

    def bin(self, t):
        return round(t / self.dt) if self.rounding == "nearest" else math.floor(t / self.dt + 1e-9)

    def bins(self, length):
        """The bins of a recording of so many steps."""
        last = self.bin((length - 1) * self.own) + 1 if length else 0
        return max(round(length * self.own / self.dt), last)

    def binned(self, x):
        """Spikes of another step in bins; signals have that of the loader."""
        if math.isclose(self.own, self.dt):
            return x
        found = np.zeros((self.bins(len(x)), *x.shape[1:]), bool)
        for step, spikes in enumerate(x):
            found[self.bin(step * self.own)] |= spikes
        return found

    def recording(self, sample, epoch):
        """A recording as an array (T, ...), and its length."""
        x, change = self.x[sample], self.options["transform"]
        least = 0 if isinstance(x, Events) else self.bins(len(x))
        if change is not None:
            rng = np.random.default_rng(np.random.SeedSequence(self.options["seed"], spawn_key=(epoch, sample)))
            of_spikes = not isinstance(x, Events) and not getattr(change, "of_signals", False)
            x = change(Events.from_spikes(x, self.own) if of_spikes else x, self.data.shape, rng)
        if not isinstance(x, Events):
            found = self.binned(x)
            return found, min(max(len(found), 1), self.steps)
        found = np.zeros((self.steps, *self.data.shape), bool)
        last = 0
        for t, column, row, channel in (x[i] for i in range(len(x))):
            if self.bin(t) < self.steps:
                found[(self.bin(t), column) if row is None else (self.bin(t), row, column, channel)] = True
                last = max(last, self.bin(t) + 1)
        return found, min(max(last, least, 1), self.steps)

    def target(self, sample):
        y = self.y[sample]
        if self.kind == "steps":
            at = [math.floor(k * self.dt / self.own + 1e-9) for k in range(self.bins(len(y)))]
            return np.array([y[min(step, len(y) - 1)] for step in at], np.int64)
        return self.binned(y) if self.kind in AT_EACH_STEP else y

    def batch(self, chosen, epoch):
        """The batch of some samples: x, lengths, target."""
        found, lengths = zip(*(self.recording(sample, epoch) for sample in chosen), strict=True)
        steps = max(lengths) if self.lengths else self.steps
        targets = [self.target(sample) for sample in chosen]
        if self.kind in AT_EACH_STEP:
            target = padded(targets, steps, -1 if self.kind == "steps" else 0)
        else:
            target = np.array(targets, np.int64 if self.kind == "classes" else np.float32)
        return padded(found, steps, 0), lengths if self.lengths else None, target

    def parts(self, epoch):
        """The samples of each batch."""
        order, size = np.arange(len(self.x)), self.options["batch"]
        if self.options["shuffle"]:
            np.random.default_rng((self.options["seed"], epoch)).shuffle(order)
        parts = [order[first : first + size] for first in range(0, len(order), size)]
        return [part for part in parts if len(part) == size or not self.options["drop_last"]]


def padded(arrays, steps, end):
    """Arrays (T, ...) side by side, (steps, N, ...)."""
    found = np.full((steps, len(arrays), *arrays[0].shape[1:]), end, np.result_type(*arrays))
    for i, array in enumerate(arrays):
        for step in range(min(steps, len(array))):
            found[step, i] = array[step]
    return found


def case_of(seed):
    """Return a case of which every option is as likely as the others."""
    rng = np.random.default_rng(seed)

    def pick(*values):
        return values[rng.integers(len(values))]

    def number(least, most):
        return int(rng.integers(least, most, endpoint=True))

    recordings = pick("array", "list", "signals", "events", "files")
    of_events = recordings in ("events", "files")
    kind = "classes" if recordings == "files" else pick("classes", "one-hot", "labels", "numbers", *AT_EACH_STEP)
    samples, whole = number(1, 7), number(1, 22)
    shape = (2, 3, 2) if recordings == "files" else pick((3,), (2, 3, 2))
    counts = [whole if recordings == "array" else number(0, 12) for _ in range(samples)]
    own = pick(None, pick(*STEPS_MS))
    # Numbers are not put into other bins.
    of_numbers = recordings == "signals" or kind == "values"
    dt = pick(None, own and own * (1 + 1e-12)) if of_numbers else pick(None, pick(*STEPS_MS))
    x = [rng.random((count, *shape)) < 0.2 for count in counts]
    if recordings == "signals":
        x = [rng.standard_normal(each.shape, dtype=pick("f4", "f8")) for each in x]
    if of_events:
        x = [Events.from_spikes(each, own or 1.0) for each in x]
        x = [Events((1000 * each.t).round() / 1000, each.x, each.y, each.p) for each in x]  # as in files
    y = {
        "classes": [number(0, 3) for _ in counts],
        "one-hot": list(np.eye(4)[rng.integers(0, 4, samples)]),
        "labels": list((rng.random((samples, 3)) < 0.5).astype(int)),
        "numbers": list(rng.standard_normal((samples, 2))),
        "steps": [rng.integers(-1, 4, count) for count in counts],
        "trains": [rng.random((count, 2)) < 0.3 for count in counts],
        "values": [rng.standard_normal((count, 2)) for count in counts],
    }[kind]
    classes = 1 + max(int(np.max(each, initial=0)) for each in y) if kind in ("classes", "steps") else y[0].shape[-1]
    stacked, named = recordings == "array" and pick(True, False), {"one-hot": "classes", "values": None}.get(kind, kind)

    def arrays(first, last):
        given = np.array(x[first:last]) if stacked else x[first:last]
        make = Files if recordings == "files" else Arrays
        return make(given, y[first:last], shape=shape if of_events else None, targets=named, dt=own)

    middle = pick(samples, number(1, samples))
    data = arrays(0, samples) if middle == samples else Joined(arrays(0, middle), arrays(middle, samples))
    if kind == "one-hot":
        y, kind = [int(each.argmax()) for each in y], "classes"
    chosen = list(range(samples))
    view = pick("whole", "subset", "subset of subset", "split")
    if "subset" in view:
        chosen = [number(-samples, samples - 1) for _ in range(number(1, 6))]
        data = Subset(data, chosen)
    if view == "subset of subset":
        again = [number(0, len(chosen) - 1) for _ in range(number(1, 6))]
        chosen, data = [chosen[i] for i in again], Subset(data, again)
    if view == "split" and samples > 1:
        data = pick(*split(data, 0.4, seed=1))
        chosen = data.indices
    changes = [] if recordings == "signals" else [Drop(0.4), Compose((Drop(0.4), Flip(1.0)))]
    if kind not in AT_EACH_STEP:
        changes += [] if recordings == "signals" else [RandomShift(3.0), Crop(time=(1.0, 9.0))]
        changes += [] if of_events else [Reversed(), Compose((Reversed(), Reversed()))]
    batch = number(1, 4)
    options = {
        "batch": batch,
        "steps": pick(*[None] * (not of_events), number(1, 30)),
        "dt": dt,
        "shuffle": pick(True, False),
        "seed": number(0, 5),
        "rounding": pick("floor", "nearest"),
        "drop_last": pick(True, False) and batch <= len(chosen),
        "transform": pick(None, *([pick(*changes)] if changes else [])),
        "lengths": pick(None, True, False),
    }
    return Case(data, options, [x[i] for i in chosen], [y[i] for i in chosen], kind, own, max(counts), classes)


CASES = st.integers(0, 2**32 - 1).map(case_of).filter(lambda case: case.steps)


def same(batch, wanted):
    """Check a pair (x, target)."""
    (x, target), (frames, lengths, targets) = batch, wanted
    own = getattr(x, "lengths", None)
    assert (own is None) == (lengths is None)
    assert own is None or own.tolist() == list(lengths)
    for ours, theirs in ((x, frames), (target, targets)):
        ours = getattr(ours, "data", ours) if isinstance(ours, cs.Tensor) else ours
        assert (ours.dtype, ours.shape, ours.tobytes()) == (theirs.dtype, theirs.shape, theirs.tobytes())


@settings(max_examples=300)
@given(CASES)
def test_batches_are_those_of_a_loop(case):
    loader = Loader(case.data, **case.options)
    for epoch in range(2):
        parts = case.parts(epoch)
        assert (len(loader), case.data.classes) == (len(parts), case.classes)
        same(loader[-1], case.batch(parts[-1], epoch))
        for batch, part in zip(loader, parts, strict=True):
            same(batch, case.batch(part, epoch))
        assert as_tensor(batch.x).data.flags.c_contiguous
        batch[1][:] = 0  # a batch may be written to
    rest = list(loader.batches_from(1))
    for batch, part in zip(rest, case.parts(2)[1:], strict=True):
        same(batch, case.batch(part, 2))
    loader.epoch = 1
    same(loader[0], case.batch(case.parts(1)[0], 1))


@pytest.mark.parametrize("own", STEPS_MS)
def test_spikes_and_labels_of_any_step_in_bins_of_any_other(own):
    rng = np.random.default_rng(0)
    rest = {"batch": 1, "shuffle": False, "drop_last": False, "transform": None, "seed": 0}
    for dt, rounding, kind, _ in product(STEPS_MS, ("floor", "nearest"), ("steps", "trains"), range(3)):
        length, steps, lengths = rng.integers(1, 17), int(rng.integers(1, 24)), rng.random() < 0.5
        x, y = rng.random((length, 2)) < 0.5, rng.integers(-1, 3, length)
        y = y if kind == "steps" else x[::-1]
        options = rest | {"dt": dt, "steps": steps, "rounding": rounding, "lengths": bool(lengths)}
        case = Case(Arrays([x], [y], targets=kind, dt=own), options, [x], [y], kind, own, length, 0)
        same(Loader(case.data, **options)[0], case.batch([0], 0))


@settings(max_examples=200)
@given(CASES, st.integers(1, 4), st.integers(0, 3), st.integers(0, 2), st.booleans())
def test_shares_are_parts_of_a_batch(case, micro, skipped, first, listed):
    """Of a loader, whose parts are batches of their own, and of a list, whose parts have the steps of the batch."""
    loader = Loader(case.data, **case.options)
    wanted = [case.batch(part, 0) for part in case.parts(0)]
    batches = list(loader) if listed else loader
    shares = Shares(batches, micro, lambda leaves: range(min(skipped, leaves), leaves))
    assert len(shares) == len(wanted)
    found = list(shares.batches_from(first)) if listed else [(s, list(s.pairs)) for s, _ in shares.batches_from(first)]
    assert len(found) == max(len(wanted) - first, 0)
    for (share, pairs), part, (x, lengths, target) in zip(found, case.parts(0)[first:], wanted[first:], strict=True):
        cuts = [slice(at, at + micro) for at in range(0, len(part), micro)]
        assert (share.leaves, list(share.own)) == (len(cuts), list(range(min(skipped, len(cuts)), len(cuts))))
        for cut, pair in zip(cuts[min(skipped, len(cuts)) :], list(share.pairs) if listed else pairs, strict=True):
            targets = target[:, cut] if case.kind in AT_EACH_STEP else target[cut]
            same(pair, (x[:, cut], lengths and lengths[cut], targets) if listed else case.batch(part[cut], 0))


@settings(max_examples=150)
@given(
    st.integers(0, 99),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 3),
    st.sampled_from(["classes", "one-hot", "numbers", "steps", "trains"]),
    st.sampled_from([np.asarray, cs.Tensor, np.ndarray.tolist]),
)
def test_targets_of_own_batches_are_cut_by_sample(seed, steps, samples, micro, kind, form):
    """Where there are as many steps as samples, integers are labels at each step unless they look one-hot."""
    rng = np.random.default_rng(seed)
    target = {
        "classes": rng.integers(0, 4, samples),
        "one-hot": np.eye(4, dtype=rng.choice(["i8", "f4", "?"]))[rng.integers(0, 4, samples)],
        "numbers": rng.standard_normal((samples, samples if steps == samples else 3), dtype="f4"),
        "steps": rng.integers(-1, 4, (steps, samples)),
        "trains": rng.random((steps, samples, 2)) < 0.3,
    }[kind]
    if kind == "steps" and steps == samples:
        assume(form is not cs.Tensor and not ((target == 1).sum(axis=1) == 1).all())
    x = rng.random((steps, samples, 3)) < 0.5
    ((share, _),) = Shares([(x, form(target))], micro, range)
    axis = int(kind in AT_EACH_STEP)
    frames, targets = zip(*share.pairs, strict=True)
    np.testing.assert_array_equal(np.concatenate(frames, axis=1), x)
    np.testing.assert_array_equal(np.concatenate(targets, axis=axis), target)
    assert [each.shape[axis] for each in targets] == [each.shape[1] for each in frames]
