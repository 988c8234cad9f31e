"""`Arrays`, `Subset` and `split`: shapes, axes, types, batches, errors."""

import copy
import pickle

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import data as d
from cuslayer.data import Arrays, Digits, Drop, Events, Flip, Loader, Subset, split
from cuslayer.training import Tally
from tests.support.refused import refused, refuses

RNG = np.random.default_rng(0)
SPIKES = RNG.random((6, 20, 5)) < 0.3
FRAMES = RNG.random((6, 20, 3, 4, 2)) < 0.3
LABELS = [0, 1, 2, 0, 1, 2]


def test_arrays_whose_time_comes_first_are_the_same_data():
    for x in (SPIKES, FRAMES, SPIKES.astype(np.float32)):
        first, second = Arrays(x, LABELS), Arrays(x.swapaxes(0, 1), LABELS, time_first=True)
        assert first.shape == second.shape
        assert all((a == b).all() for (a, _), (b, _) in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("given", "becomes"),
    [("bool", "bool"), ("uint8", "bool"), ("int64", "bool"), ("float32", "float32"), ("float64", "float64")],
)
def test_the_type_of_a_batch(given, becomes):
    ((x, _),) = Loader(Arrays(SPIKES.astype(given), LABELS), 6)
    assert x.dtype == becomes
    assert (x == SPIKES.swapaxes(0, 1)).all()


def test_other_numbers_and_nested_lists():
    for x in (SPIKES * 3, SPIKES.astype(np.float16), -SPIKES.astype(int)):
        ((batch, _),) = Loader(Arrays(x, LABELS), 6)
        assert batch.dtype == np.float32
        assert (batch == x.swapaxes(0, 1)).all()
    for x in (list(SPIKES), SPIKES.tolist(), cs.Tensor(SPIKES), [cs.Tensor(each) for each in SPIKES]):
        ((batch, _),) = Loader(Arrays(x, cs.Tensor(SPIKES[:, :, 0]).numpy().any(axis=1).astype(int)), 6)
        assert (batch == SPIKES.swapaxes(0, 1)).all()


def test_recordings_in_an_array_of_objects():
    ragged = np.array([SPIKES[0], SPIKES[1, :7]], dtype=object)
    assert Arrays(ragged, [0, 1]).lengths.tolist() == [20, 7]


def test_the_step_of_the_arrays_is_the_loaders_default():
    assert Loader(Arrays(SPIKES, LABELS, dt=0.5), 2).dt == 0.5
    assert Loader(Arrays(SPIKES, LABELS), 2, dt=0.5).steps == 20
    with refuses("Loader: sample 0: dt must be 0.5 ms, the step of its signals"):
        list(Loader(Arrays(SPIKES.astype(float), LABELS, dt=0.5), 2, dt=1.0))


def test_events_in_a_list():
    recordings = [Events.from_spikes(spikes) for spikes in FRAMES]
    for given in ((3, 4, 2), None):
        data = Arrays(recordings, LABELS, shape=given)
        assert (data.shape, data.steps, repr(data)) == (
            (3, 4, 2), None, "Arrays(6 samples of events, shape (3, 4, 2), 3 classes)",
        )  # fmt: skip
        ((x, _),) = Loader(data, 6, steps=20)
        assert (x == FRAMES.swapaxes(0, 1)).all()
    flat = Arrays([Events.from_spikes(spikes) for spikes in SPIKES], LABELS)
    assert flat.shape == (5,)
    assert flat[0] == (Events.from_spikes(SPIKES[0]), 0)


def test_labels_and_classes():
    data = Arrays(SPIKES, np.eye(4)[LABELS])
    assert (data.classes, data.labels.tolist()) == (4, LABELS)
    assert Arrays(SPIKES, LABELS, classes=7).classes == 7
    assert Arrays(SPIKES, np.array(LABELS) > 0).labels.tolist() == [0, 1, 1, 0, 1, 1]
    with pytest.raises(ValueError, match="read-only"):
        data.labels[0] = 1


@pytest.mark.parametrize("listed", [False, True])
def test_target_spike_trains(listed):
    target = RNG.random((6, 20, 3)) < 0.1
    data = Arrays(SPIKES, list(target) if listed else target)
    assert (data.labels, data.classes) == (None, 3)
    assert repr(data) == "Arrays(6 samples of spikes, 20 steps, shape (5,), 3 outputs)"
    turned = Arrays(SPIKES.swapaxes(0, 1), target.swapaxes(0, 1), time_first=True)
    assert (turned[3][1] == target[3]).all()


SEVERAL = np.array([[1, 1, 0], [0, 0, 0], [1, 0, 1], [0, 1, 0], [0, 0, 1], [1, 1, 1]])
ONE_HOT, NUMBERS, EACH = np.eye(3)[LABELS], RNG.normal(size=(6, 2)), RNG.normal(size=(6, 20, 2))
AT_STEPS = RNG.integers(-1, 3, (6, 20))
EVENTS = [Events.from_spikes(spikes) for spikes in SPIKES]
UNKNOWN = 'targets="numbers", "labels" or "steps" says what they are'


KINDS = [
    ("classes", LABELS, None), ("classes", ONE_HOT, None), ("classes", cs.Tensor(LABELS), None),
    ("classes", np.array(LABELS, float), "classes"), ("labels", SEVERAL, None), ("labels", SEVERAL.astype(bool), None),
    ("labels", SEVERAL.tolist(), None), ("labels", SEVERAL.astype(float), None), ("labels", ONE_HOT, "labels"),
    ("labels", AT_STEPS.clip(0, 1), "labels"),
    ("numbers", NUMBERS, None), ("numbers", np.append(NUMBERS[:5, 0], 1), None), ("numbers", cs.Tensor(NUMBERS), None),
    ("numbers", np.array(LABELS, float), "numbers"), ("numbers", 7 * SEVERAL, "numbers"), ("numbers", EACH, "numbers"),
    ("trains", EACH, None), ("steps", AT_STEPS, "steps"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "y", "named"), KINDS)
def test_the_kind_of_a_target(kind, y, named):
    """Batches of each kind are in test_batches.py."""
    at_steps = kind in ("steps", "trains") or np.ndim(y) > 2
    for x in (SPIKES, list(SPIKES), EVENTS):
        data = Arrays(x, y, targets=named)
        assert (data.targets, Subset(data, [1]).targets) == (kind, kind)
        _, target = Loader(data, 6, steps=20)[0]
        assert target.shape[: 1 + at_steps] == ((20, 6) if at_steps else (6,))


def test_the_score_of_targets_that_are_no_classes():
    """A plain sum has no accuracy, also where a batch of several labels looks one-hot."""
    out = SPIKES[:, :, :3].swapaxes(0, 1)
    for target in (NUMBERS.repeat(2, axis=1)[:, :3], SEVERAL):
        tally = Tally()
        for each in (target, ONE_HOT):
            tally.add(out, each, 1.0)
            assert tally.score().accuracy is None
    with refuses("Tally: target has shape (20, 6), spikes have shape (20, 6, 3)", "; loss.scored"):
        tally.add(out, AT_STEPS.T, 1.0)


def test_a_transform_does_not_move_times_under_targets_at_each_step():
    ragged = [SPIKES[0], SPIKES[1, :7], np.zeros((9, 5), bool)]
    steps = [AT_STEPS[0], AT_STEPS[1, :7], AT_STEPS[2, :9]]
    several = d.Compose((Drop(0.1), d.Stretch(1.2)))
    for moved in (d.RandomShift(2.0), several, d.Crop(time=(0.0, 9.0)), d.FromStart()):
        for y in (steps, [EACH[0], EACH[1, :7], EACH[2, :9]]):
            with refuses("Loader: sample 0: transform must not move times under targets at each step"):
                next(iter(Loader(Arrays(ragged, y), 3, transform=moved)))
    x, target = next(iter(Loader(Arrays(ragged, steps), 3, transform=Drop(0.1))))
    assert (x.lengths.tolist(), (target >= -1).all()) == ([20, 7, 9], True)
    assert (target[:7, 1] == AT_STEPS[1, :7]).all()
    assert next(iter(Loader(Arrays(ragged, [0, 1, 2]), 3, transform=d.RandomShift(2.0)))).lengths.tolist() == [20, 7, 9]


def test_a_transform_of_spikes_refuses_signals():
    with refuses("Loader: sample 0: transform is for events and spikes"):
        list(Loader(Arrays(FRAMES.astype(np.float32), LABELS), 6, transform=Flip()))


def test_order_and_index():
    data = Arrays(SPIKES, LABELS)
    assert data[-1][1] == 2
    assert len(list(data)) == 6
    for index in (6, -7):
        with refuses("Arrays: index must lie within 6 samples"):
            data[index]
    refused("Arrays: index must be an integer", lambda: data["x"])


ERRORS = [
    ((SPIKES, [0, 1]), {}, "x and y must have one length, got 6 and 2"),
    ((SPIKES, range(20)), {}, "x and y must have one length, got 6 and 20; x has shape (6, 20, 5): "
     "for (T, samples, ...) pass time_first=True"),
    ((SPIKES, LABELS), {"time_first": True}, "x and y must have one length, got 20 and 6; x has shape (6, 20, 5): "
     "leave out time_first"),
    ((SPIKES[0], [0] * 20), {}, "x must be (samples, T, ...), got shape (20, 5); with one input a step, x[..., None]"),
    ((SPIKES[:0], []), {}, "x must hold a sample, got none"),
    ((list(SPIKES), LABELS), {"time_first": True}, "time_first is for one array (T, samples, ...), got a list"),
    (([SPIKES[0], FRAMES[0]], [0, 1]), {}, "x[1] must be (T, 5), got shape (20, 3, 4, 2)"),
    (([[[1.0]], [[1.0], [2.0, 3.0]]], [0, 1]), {}, "x must be an array, got rows of unequal length"),
    ((SPIKES, [0, 1, 2, 0, 1, -2]), {}, "label -2 of sample 5 must not be negative"),
    *(((SPIKES, y), {}, "integers y must be classes (samples,), one-hot, labels of 0 or 1, or (samples, T), got shape "
       f"{y.shape}; {UNKNOWN}") for y in (7 * SEVERAL, AT_STEPS[:, :1])),
    ((SPIKES, 1), {}, "y must have an axis of samples, got shape ()"),
    ((SPIKES, SEVERAL), {"targets": "classes"}, "y (N, classes) must hold one 1 a sample and 0 elsewhere"),
    ((SPIKES, LABELS), {"targets": "labels"}, "y must be labels of 0 or 1, got 2"),
    ((SPIKES, EACH), {"targets": "labels"}, "y must be labels (samples, outputs), got shape (6, 20, 2)"),
    ((SPIKES, NUMBERS), {"targets": "trains"}, "y must be spike trains (samples, T, outputs), got shape (6, 2)"),
    ((SPIKES, NUMBERS * np.nan), {}, "y must be finite, got nan in it"),
    ((SPIKES, AT_STEPS[:, :9]), {"targets": "steps"}, "y[0] must have a label for each step of x[0], 20 steps, got 9"),
    ((SPIKES, LABELS), {"targets": "label"}, "targets must be one of classes, labels, numbers, steps, trains, got "
     "'label'; did you mean labels?"),
    ((SPIKES, LABELS), {"classes": 2}, "classes must be at least 3 for these y, got 2"),
    ((SPIKES, LABELS), {"shape": 5}, "shape is for Events, arrays have their own, got 5"),
    (([Events([1], [1], None, [0])], [0]), {"shape": (3, 4, 2)}, "shape must be a number of neurons for these "
     "Events, got (3, 4, 2)"),
    (([Events([1], [1], None, [0]), Events([1], [1], [1], [0])], [0, 1]), {}, "x must be in 1-D or 2-D throughout, "
     "sample 1 and sample 0 differ"),
]  # fmt: skip
TYPE_ERRORS = [
    (("data.npy", LABELS), "x must be an array, got 'data.npy'; read a file first, as np.load does"),
    ((Events([1], [1], None, [0]), [0]), "x must be a list of Events, got one Events; write [events]"),
    (([Events([1], [1], None, [0]), SPIKES[0]], [0, 1]), "x must hold Events only, sample 1 is of type ndarray"),
    ((object(), LABELS), "x must be an array of booleans or numbers, got object"),
    ((SPIKES, np.array(LABELS, float)), "y must be integers from 0, got float64; y.astype(int) makes classes of them, "
     'targets="numbers" takes numbers'),
    ((SPIKES, list("aabbcc")), "y must be integers from 0, got strings; number the classes, as np.unique(y, "
     "return_inverse=True)[1] does"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "options", "message"), ERRORS)
def test_errors(arguments, options, message):
    refused(f"Arrays: {message}", lambda: Arrays(*arguments, **options))


@pytest.mark.parametrize(("arguments", "message"), TYPE_ERRORS)
def test_type_errors(arguments, message):
    refused(f"Arrays: {message}", lambda: Arrays(*arguments))


@pytest.mark.parametrize("value", [np.nan, -np.inf])
@pytest.mark.parametrize("listed", [False, True])
def test_numbers_that_are_not_finite(value, listed):
    x = SPIKES.astype(np.float32)
    x[4, 7, 1] = value
    with refuses(f"Arrays: {'x[4]' if listed else 'x'} must be finite"):
        Arrays(list(x) if listed else x, LABELS)
    y = np.zeros((6, 20, 2))
    y[0, 0] = value
    with refuses("Arrays: y must be finite"):
        Arrays(SPIKES, y)


def test_pixels_that_are_not_scaled_warn():
    pixels = RNG.integers(0, 256, (6, 20, 5))
    message = (
        "^Arrays: x looks like pixels from 0 to 255, its largest value is 255; divide it by 255, or make spikes of it, "
        r"as encode_poisson\(x / 255, steps=...\) does$"
    )
    for x in (pixels.astype(np.uint8), pixels.astype(np.float32), pixels):
        with pytest.warns(UserWarning, match=message) as found:
            Arrays(x, LABELS)
        assert (len(found), found[0].filename) == (1, __file__)


def test_pictures_without_an_axis_of_time_warn():
    pictures = RNG.random((6, 8, 8, 1))
    cure = r"np.repeat\(x\[:, None\], 4, axis=1\) shows each for 4 steps$"
    message = (
        rf"^Arrays: x \(6, 8, 8, 1\) looks like pictures \(samples, H, W, C\), but its second axis is time; {cure}"
    )
    with pytest.warns(UserWarning, match=message):
        Arrays(pictures, LABELS)
    assert Arrays(np.repeat(pictures[:, None], 4, axis=1), LABELS).shape == (8, 8, 1)


def test_a_large_array_is_looked_at_in_blocks(monkeypatch):
    monkeypatch.setattr("cuslayer.data.arrays._BLOCK", 7)
    x = SPIKES.astype(np.float32)
    assert Arrays(SPIKES.astype(np.uint8), LABELS)[0][0].dtype == np.bool_
    x[5, 19, 4] = np.nan
    with refuses("Arrays: x must be finite"):
        Arrays(x, LABELS)


def test_a_subset_has_the_samples_in_order():
    for dataset in (Arrays(SPIKES, LABELS, dt=2.0), Digits("test")):
        part = Subset(dataset, [4, 0, -1])
        assert (part.shape, part.classes, len(part)) == (dataset.shape, dataset.classes, 3)
        assert part.labels.tolist() == [dataset[i][1] for i in (4, 0, -1)]
        assert [label for _, label in part] == part.labels.tolist()
        (x, labels), _ = Loader(part, 2, steps=20)
        (whole, _), *_ = Loader(dataset, 5, steps=20)
        assert (x == whole[:, [4, 0]]).all()
        assert labels.tolist() == part.labels[:2].tolist()
        assert len(pickle.loads(pickle.dumps(copy.copy(part)))) == 3
        with refuses("Subset: index must lie within 3 samples"):
            part[3]
        with pytest.raises(IndexError, match=r"^Subset: index must lie within"):
            Subset(dataset, [0, len(dataset)])
    assert (Subset(Arrays(SPIKES, LABELS, dt=2.0), [1]).dt, Subset(Arrays(SPIKES, LABELS), [1]).steps) == (2.0, 20)
    assert repr(Subset(Arrays(SPIKES, LABELS), [1])).startswith("Subset(1 samples of Arrays(6 samples")
    with pytest.raises(AttributeError, match=r"^Subset: 'colour' is missing$"):
        part.colour  # noqa: B018
    assert part.where(1) == "sample 0"


def test_a_split_is_a_partition_by_its_seed():
    data = Arrays(SPIKES, LABELS)
    train, test = split(data, 0.3, seed=1)
    assert (len(train), len(test)) == (4, 2)
    assert sorted([*train.indices, *test.indices]) == list(range(6))
    assert all((np.diff(part.indices) > 0).all() for seed in range(9) for part in split(data, 0.5, seed=seed))
    assert split(data, 0.3, seed=1)[1].indices.tolist() == test.indices.tolist()
    assert len({tuple(split(data, 0.3, seed=seed)[1].indices) for seed in range(9)}) > 3
    assert [len(part) for part in split(data, 0.01)] == [5, 1]
    assert [len(part) for part in split(data, 0.99)] == [1, 5]
    # Of each class the share, a training sample always.
    labels = np.repeat([0, 1, 2, 3], [10, 5, 2, 1])
    data = Arrays(np.zeros((18, 3, 1), bool), labels)
    for seed in range(9):
        train, test = split(data, 0.3, seed=seed, by_class=True)
        assert [np.bincount(part.labels).tolist() for part in (train, test)] == [[7, 3, 1, 1], [3, 2, 1]]
        assert sorted([*train.indices, *test.indices]) == list(range(18))
    assert len({tuple(split(data, 0.3, seed=seed, by_class=True)[1].indices) for seed in range(9)}) > 3
    for wrong, message in (
        (Subset(data, [0, 17]), "at least two samples of a class"),
        (Arrays(SPIKES, SPIKES), "labels to be divided by class"),
    ):
        refused(f"split: dataset must have {message}", lambda wrong=wrong: split(wrong, by_class=True))
    for share in (0, 1, -0.5):
        with refuses("split: test must be a share between 0 and 1"):
            split(data, share)
    refused("split: dataset must have at least two samples", lambda: split(Subset(data, [0])))
    refused("split: dataset must be a data set such as Arrays(x, y)", lambda: split(SPIKES))
