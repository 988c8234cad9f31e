"""Data sets that users write: what they return, what the loader refuses, its batches by index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.data import Arrays, Digits, Events, Loader
from tests.support.refused import refused, refuses


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


def test_target_spike_trains():
    target = np.ones((2, 4), bool)
    ((_, y),) = Loader(Own((EVENTS, target), (EVENTS, ~target)), 2, steps=3)
    assert y.shape == (3, 2, 4)
    assert y.sum(axis=(0, 2)).tolist() == [8, 0]
    with refuses("Loader: labels must be classes or spike trains throughout, got both", TypeError):
        list(Loader(Own((EVENTS, target), (EVENTS, 0)), 2, steps=3))


@pytest.mark.parametrize(
    ("sample", "message", "kind"),
    [
        (EVENTS, "a data set must return (recording, label), got Events", TypeError),
        ((EVENTS, 0, 1), "a data set must return (recording, label), got tuple", TypeError),
        ((EVENTS, 2), "label must be a class from 0 to 1, got 2", ValueError),
        ((EVENTS, -1), "label must be a class from 0 to 1, got -1", ValueError),
        ((EVENTS, 1.0), "label must be the class, an integer from 0, got float 1.0", TypeError),
        ((EVENTS, "cat"), "label must be the class, an integer from 0, got str cat", TypeError),
        (
            (EVENTS, [0, 1]),
            "label must be the class, an integer from 0, got an array of (2,); of a one-hot label take the argmax",
            TypeError,
        ),
        ((SPIKES[:, :2], 0), "a recording must be Events or (T, 3), got shape (3, 2)", ValueError),
        ((SPIKES[:, None], 0), "a recording must be Events or (T, 3), got shape (3, 1, 3)", ValueError),
        (("1.bs2", 0), "a recording must be an array, got '1.bs2'; read a file first, as np.load does", TypeError),
        ((None, 0), "a recording must be an array of booleans or numbers, got NoneType", TypeError),
    ],
)
def test_what_a_data_set_must_return(sample, message, kind):
    refused(f"Loader: sample 0: {message}", lambda: list(Loader(Own(sample), 1, steps=3)), kind)


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
    refused(f"Loader: dataset must be a data set, got {got}", lambda: Loader(dataset, 2, steps=10), TypeError)


def test_the_number_of_steps_of_events_is_needed():
    with refuses("Loader: steps must be given for recordings of events, the number of bins", TypeError):
        Loader(Own((EVENTS, 0)), 1)
    with refuses("Loader: steps must be given for a data set without steps, the length T", TypeError):
        Loader(Own((np.ones((5, 2), bool), 0)), 1)
    data = Own((EVENTS, 0))
    data.shape = ()
    refused("Loader: dataset.shape must have an axis, got ()", lambda: Loader(data, 1, steps=3))
    data.shape = (2, 3)
    with refuses("Loader: sample 0: shape must be (H, W, C), or a number of neurons, got (2, 3)"):
        list(Loader(data, 1, steps=3))


def test_a_batch_by_its_number():
    loader = Loader(Arrays(np.random.default_rng(0).random((7, 5, 3)) < 0.5, [0] * 7), 3, shuffle=True, seed=2)
    found = [loader[0], loader[1], loader[-1]]
    assert loader.epoch == 0
    for (x, labels), (y, others) in zip(found, loader, strict=True):
        assert (x == y).all()
        assert (labels == others).all()
    for index in (3, -4):
        with refuses(f"Loader: index must lie within 3 batches, got {index}", IndexError):
            loader[index]
    refused("Loader: index must be an integer, got slice", lambda: loader[:2], TypeError)
