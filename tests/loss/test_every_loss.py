"""Every loss against plain NumPy, with its options drawn: labels, windows, lengths, weights, chunks, parts, scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import cuslayer as cs
from cuslayer.distributed import DataParallel
from cuslayer.loss.base import scored
from cuslayer.training import Tally, Trainer
from tests.support import reference

KINDS = ("cross", "steps", "binary", "square", "max", "sliding", "rate", "count", "time")
OVER = ("max", "mean", "sum", "last")


@dataclass
class Case:
    """A loss, an output (T, N, C) of recordings with lengths, and a target.

    `of_one` is the loss of one recording in float64, from its output and its number; `right` its decisions.
    """

    loss: Any
    y: np.ndarray
    lengths: np.ndarray | None
    target: Any
    of_one: Any
    right: Any
    exact: bool = True

    def total(self, y: np.ndarray) -> float:
        return sum(self.of_one(y[:end, i], i) for i, end in enumerate(self.ends))

    @property
    def ends(self) -> np.ndarray:
        return np.full(self.y.shape[1], len(self.y)) if self.lengths is None else self.lengths

    def gradient(self) -> np.ndarray:
        """Return the gradient of the loss, by central differences."""
        y, g = self.y.astype(np.float64), np.zeros(self.y.shape)
        for i, end in enumerate(self.ends):
            for at in np.ndindex(end, y.shape[2]):
                one = y[:end, i].copy()
                sides = []
                for step in (1e-5, -2e-5):
                    one[at] += step
                    sides.append(self.of_one(one, i))
                g[(at[0], i, at[1])] = (sides[0] - sides[1]) / 2e-5
        return g


def read(y: np.ndarray, over: str) -> np.ndarray:
    return {"max": y.max(0), "mean": y.mean(0), "sum": y.sum(0), "last": y[-1]}[over]


def log_p(z: np.ndarray, kind: str = "softmax") -> np.ndarray:
    share = np.exp(z - z.max(axis=-1, keepdims=True)) if kind == "softmax" else z + 1
    return np.log(share / share.sum(axis=-1, keepdims=True))


def in_form(labels: np.ndarray, classes: int, form: str) -> Any:
    hot = labels[..., None] == np.arange(classes)
    forms = {
        "array": labels,
        "list": labels.tolist(),
        "tensor": cs.Tensor(labels),
        "hot": hot,
        "int hot": hot.astype(int),
    }
    return forms[form]


@st.composite
def cases(draw: Any, kind: str, parts: bool = False) -> Case:
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    steps, samples, classes = (draw(st.integers(1, most)) for most in (6, 4, 4))
    if draw(st.booleans()):
        steps = samples = classes = draw(st.integers(2, 4))
    lengths = rng.integers(1, steps + 1, samples) if draw(st.booleans()) else None
    least = steps if lengths is None else int(lengths.min())
    dt, window = draw(st.sampled_from([1.0, 0.5])), None
    first, last = 0, steps
    if draw(st.booleans()):
        first = draw(st.integers(0, least - 1))
        last = draw(st.integers(first + 1, steps if lengths is None else steps + 2))
        window = (first * dt, last * dt)
    spikes = kind not in ("cross", "steps", "binary", "square")
    y = rng.random((steps, samples, classes)) < 0.5 if spikes else rng.standard_normal((steps, samples, classes))
    y[0, 0, 0] = 1  # a silent batch has a warning
    y, labels, exact = y.astype(np.float32), rng.integers(classes, size=samples), True
    target = in_form(
        labels, classes, draw(st.sampled_from(["array", "hot", "int hot"] + ["list", "tensor"] * (not parts)))
    )
    srm, probability = cs.SRM(tau_sr=2.0, dt=dt), draw(st.sampled_from(["softmax", "ratio"]))

    def most_active(one: np.ndarray, i: int) -> Any:
        return [one.sum(0).argmax() == labels[i]]

    right = most_active
    if kind in ("cross", "steps"):
        over = "every" if kind == "steps" else draw(st.sampled_from([*OVER, "every"]))
        weights = rng.integers(0, 4, classes) / 2 if draw(st.booleans()) else None
        smoothing, ignore = draw(st.sampled_from([0.0, 0.25])), draw(st.sampled_from([-1, 7, -100, 0]))
        loss = cs.CrossEntropyLoss(over, window=window, dt=dt, weights=weights, smoothing=smoothing, ignore=ignore)
        at_steps = None
        if kind == "steps":
            at_steps = rng.integers(-1, classes, (steps, samples))
            if steps == classes:
                at_steps[0] = -1  # or a row for each sample could be one-hot classes
            target = in_form(
                at_steps, classes, draw(st.sampled_from(["array", "hot", "int hot", "tensor"][: 3 + (not parts)]))
            )
            if target.ndim == 2:
                target = np.where(at_steps < 0, ignore, at_steps)
                at_steps = np.where(target == ignore, -1, at_steps)  # a class may be left out too
                target = cs.Tensor(target) if draw(st.booleans()) and not parts else target

        def of_label(z: np.ndarray, label: int) -> Any:
            q = (np.arange(classes) == label) * (1 - smoothing) + smoothing / classes
            return -(q * log_p(z)).sum(axis=-1) * (1.0 if weights is None else weights[label])

        def of_one(one: np.ndarray, i: int) -> Any:
            z = one[first:last]
            if at_steps is not None:
                errors = [
                    of_label(step, label) for step, label in zip(z, at_steps[first:, i], strict=False) if label >= 0
                ]
                return sum(errors) / max(len(errors), 1)
            return of_label(z, labels[i]).mean() if over == "every" else of_label(read(z, over), labels[i])

        def right(one: np.ndarray, i: int) -> Any:
            z = one[first:last]
            if at_steps is None:
                return [read(z, "mean" if over == "every" else over).argmax() == labels[i]]
            return [z_t.argmax() == label for z_t, label in zip(z, at_steps[first:, i], strict=False) if label >= 0]

    elif kind == "binary":
        over, slope, offset = draw(st.sampled_from(OVER)), 2.0, 0.25
        loss = cs.BinaryCrossEntropyLoss(over, slope=slope, offset=offset, window=window, dt=dt)
        many = rng.integers(0, 2, (samples, classes))
        target = draw(st.sampled_from([many, many.astype(bool), many.astype(np.float32)]))

        def of_one(one: np.ndarray, i: int) -> Any:
            z = slope * (read(one[first:last], over) - offset)
            return np.where(many[i] == 1, np.log1p(np.exp(-z)), np.log1p(np.exp(z))).sum()

        def right(one: np.ndarray, i: int) -> Any:
            return [((read(one[first:last], over) > offset) == many[i]).all()]

    elif kind == "square":
        over = draw(st.sampled_from([*OVER, *["every"] * 4]))
        loss, right = cs.MeanSquaredErrorLoss(over, window=window, dt=dt), None
        at_steps = over == "every" and draw(st.booleans())
        target = rng.standard_normal((steps, samples, classes) if at_steps else (samples, classes)).astype(np.float32)

        def of_one(one: np.ndarray, i: int) -> Any:
            z = one[first:last]
            wanted = target[first:, i][: len(z)] if at_steps else target[i]
            return (((z if over == "every" else read(z, over)) - wanted) ** 2).mean(axis=-1).mean()

    elif kind == "max":
        loss = cs.loss.SpikeMaxLoss(srm, window=window, probability=probability)

        def of_one(one: np.ndarray, i: int) -> Any:
            return -log_p(one[first:last].sum(0), probability)[labels[i]]

    elif kind == "sliding":
        width = draw(st.integers(1, 7))
        loss = cs.loss.ProbabilityWindowLoss(srm, width=width * dt, window=window, probability=probability)

        def of_one(one: np.ndarray, i: int) -> Any:
            ends = range(first, min(last, len(one)))
            return np.mean([-log_p(one[max(t + 1 - width, 0) : t + 1].sum(0), probability)[labels[i]] for t in ends])

    elif kind == "rate":
        loss = cs.loss.SpikeRateLoss(srm, 400, 50, window)

        def of_one(one: np.ndarray, i: int) -> Any:
            rate = one[first:last].mean(0) / dt
            return 0.5 * ((rate - np.where(np.arange(classes) == labels[i], 0.4, 0.05)) ** 2).sum()

    elif kind == "count":
        scale, piecewise, exact = draw(st.sampled_from([1.0, 3.0])), draw(st.booleans()), False
        loss = cs.SpikeCountLoss(srm, 1.0, 0.5, window, count_scale=scale, piecewise=piecewise)

        def error_of(one: np.ndarray, i: int) -> Any:
            outside, end = one.copy(), min(last, len(one))
            outside[first:end] = 0
            e = reference.psp(outside, srm.response)
            desired = np.where(np.arange(classes) == labels[i], 1.0, 0.5)
            counts = scale * (one[first:end].sum(0) - desired) / (end - first)
            e[first:end] = counts if piecewise else e[first:end] + counts
            return e

        def of_one(one: np.ndarray, i: int) -> Any:
            return 0.5 * (error_of(one, i) ** 2).sum() * dt

    else:
        loss, right = cs.SpikeTimeLoss(srm), None
        target = rng.random(y.shape) < 0.3

        def of_one(one: np.ndarray, i: int) -> Any:
            return 0.5 * (reference.psp(one - target[: len(one), i], srm.response) ** 2).sum() * dt

    case = Case(loss, y, lengths, target, of_one, right, exact)
    if not exact:
        g = np.zeros(y.shape)
        for i, end in enumerate(case.ends):
            g[:end, i] = reference.psp_adjoint(error_of(y[:end, i].astype(float), i), srm.response) * dt
        case.gradient = lambda: g  # type: ignore[method-assign]
    return case


def check(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5 * max(1.0, np.abs(expected).max(initial=0)))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60)
@given(st.data())
def test_a_loss_and_its_gradient(kind: str, data: Any) -> None:
    case, factor = data.draw(cases(kind)), data.draw(st.sampled_from([1.0, 3.0, -0.5]))
    spikes = case.y.astype(bool)
    boolean = (spikes == case.y).all() and data.draw(st.booleans())
    y = cs.Tensor(spikes if boolean else case.y, requires_grad=True, lengths=case.lengths)
    value = case.loss(y, case.target)
    (factor * value).backward()
    assert value.shape == ()
    check(value.item(), case.total(case.y.astype(np.float64)))
    tally = Tally()
    tally.add(*scored(case.loss, y, case.target), value)
    if case.right is not None:
        right = [each for i, end in enumerate(case.ends) for each in case.right(case.y[:end, i], i)]
        assert (tally.right, tally.samples) == (sum(right), len(right))
    if kind == "binary":
        alone = [cs.Tensor(case.y[:end, i : i + 1], lengths=[end]) for i, end in enumerate(case.ends)]
        check(case.loss.probabilities(y), np.concatenate([case.loss.probabilities(one) for one in alone]))
    assert y.grad is not None
    check(y.grad, factor * case.gradient())


class Gain(cs.Layer):
    """One trained number for each channel."""

    memory = 0
    keeps_shape = keeps_steps = True

    def __init__(self, channels: int) -> None:
        self.gain = cs.Tensor(np.ones(channels, np.float32), requires_grad=True)

    def __call__(self, x: Any) -> cs.Tensor:
        y = x * self.gain
        y.lengths = x.lengths
        return y


WAYS = {
    "whole": {},
    "recompute": {"recompute": 2},
    "truncate": {"truncate": 3},
    "micro": {"parallel": DataParallel(micro=2)},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12)
@given(st.data())
def test_a_trainer_reports_and_descends_it(kind: str, way: str, data: Any) -> None:
    """As a whole, in chunks of time and in parts of batches: loss and accuracy, in training and testing."""
    case = data.draw(cases(kind, parts=True))
    net = cs.Sequential(Gain(case.y.shape[2]))
    trainer = Trainer(net, case.loss, cs.SGD(net.parameters(), 0.0), calibrate=None, loss_scale=3.0, **WAYS[way])
    batch = cs.Tensor(case.y, lengths=case.lengths), case.target
    samples = [case.y[:end, i].astype(np.float64) for i, end in enumerate(case.ends)]
    right = None if case.right is None else [each for i, one in enumerate(samples) for each in case.right(one, i)]
    if right == []:
        for call in (trainer.train, trainer.test):
            rule = f"^{call.__name__}: batches must have a recording, .* a labelled step, got none$"
            with pytest.raises(ValueError, match=rule):
                call([batch])
        return
    for score in (trainer.train([batch]), trainer.test([batch])):
        check(score.loss, 3 * case.total(case.y.astype(np.float64)) / len(samples))
        assert score.accuracy == (None if right is None else pytest.approx(np.mean(right)))
    check(net[0].gain.grad, (case.gradient() * case.y).sum(axis=(0, 1)))
