"""The trainer: equal to a plain loop, with scores that are means over samples."""

from __future__ import annotations

import numpy as np
import pytest
from tqdm import tqdm

import cuslayer as cs
from cuslayer.distributed import Context, DataParallel
from cuslayer.training import Score, Tally, Trainer
from cuslayer.training.progress import Progress, _Bar

SRM = cs.SRM(tau_sr=4.0)


def batches(sizes=(3, 2), classes=2, seed=5):
    rng = np.random.default_rng(seed)
    return [(rng.random((20, n, 6)) < 0.3, rng.integers(classes, size=n)) for n in sizes]


def trainer(*layers, loss=None, lr=0.01, **options):
    net = cs.Sequential(*(layers or (cs.Dense(6, 2), SRM)))
    loss = loss or cs.SpikeCountLoss(SRM, true=5, false=1)
    return Trainer(net, loss, cs.SGD(net.parameters(), lr), calibrate=None, **options)


def test_training_equals_a_plain_loop():
    cs.seed(1)
    t = trainer()
    cs.seed(1)
    net = cs.Sequential(cs.Dense(6, 2), SRM)
    loss, optimizer = cs.SpikeCountLoss(SRM, true=5, false=1), cs.SGD(net.parameters(), 0.01)
    total, right = 0.0, 0
    for x, labels in batches():
        spikes = net(x)
        value = loss(spikes, labels)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        total += value.item()
        right += int((cs.classify(spikes) == labels).sum())
    first = t.net.layers[0].weight.data.copy()
    assert t.train(batches()) == Score(pytest.approx(total / 5), right / 5)
    assert not np.array_equal(first, net.layers[0].weight.data)
    assert np.array_equal(t.net.layers[0].weight.data, net.layers[0].weight.data)


def test_a_score_does_not_depend_on_the_batches():
    t = trainer()
    spikes, labels = zip(*batches(), strict=True)
    whole = [(np.concatenate(spikes, axis=1), np.concatenate(labels))]
    assert t.test(batches()).loss == pytest.approx(t.test(whole).loss)
    assert t.test(batches()).accuracy == t.test(whole).accuracy


def test_testing_changes_nothing():
    t = trainer()
    before = t.net.layers[0].weight.data.copy()
    assert t.test(batches()) == t.test(batches())
    assert np.array_equal(t.net.layers[0].weight.data, before)
    assert t.net.layers[0].weight.grad is None


def test_dropout_in_training_only():
    layer = cs.Dropout(0.5)
    t = trainer(cs.Dense(6, 8), SRM, layer, cs.Dense(8, 2), SRM)
    t.train(batches())
    assert layer.training
    t.test(batches())
    assert not layer.training
    t.train(batches())
    assert layer.training


def test_training_learns():
    # The class is the half of the inputs that fires.
    rng = np.random.default_rng(0)
    labels = np.arange(8) % 2
    x = (rng.random((20, 8, 6)) < 0.5) & (np.arange(6) // 3 == labels[:, None])
    t = trainer(lr=0.05)
    first = t.train([(x, labels)])
    for _ in range(20):
        last = t.train([(x, labels)])
    assert last.loss < 0.5 * first.loss
    assert t.test([(x, labels)]).accuracy == 1.0


def test_spike_trains_have_no_accuracy():
    t = trainer(loss=cs.SpikeTimeLoss(SRM))
    target = np.zeros((20, 3, 2), bool)
    pairs = [(batches()[0][0], target)]
    assert t.train(pairs).accuracy is None
    assert t.test(pairs).accuracy is None
    assert t.test(pairs).loss >= 0.0


def test_no_batch_at_all():
    assert trainer().test([]) == Score(0.0, 0.0)
    assert trainer().train(iter([])) == Score(0.0, 0.0)


def test_a_label_out_of_range():
    x, _ = batches((3,))[0]
    for label in (2, -1):
        with pytest.raises(ValueError, match=f"label {label} of sample 1 is none of 2 classes"):
            trainer().train([(x, np.array([0, label, 1]))])


def test_nothing_is_printed_without_a_terminal(capsys):
    t = trainer()
    t.progress = True
    t.train(batches())
    t.progress = False
    t.test(batches())
    assert capsys.readouterr() == ("", "")


@pytest.mark.cpu_only
@pytest.mark.parametrize("firing", [(), (0,), (2,), (0, 1)])
def test_silent_batch_needs_every_batch_silent(firing):
    """Neither the first nor the last batch alone is sufficient. The first that is silent gives a warning, once."""
    t = trainer(cs.Dense(6, 2, weight_scale=30.0), cs.SRM(), lr=1e-9)
    t.net[0].weight.data = abs(t.net[0].weight.data)
    loud, silent = np.ones((20, 3, 6), bool), np.zeros((20, 3, 6), bool)
    assert t.net(loud).data.any()
    given = [(loud if at in firing else silent, np.zeros(3, int)) for at in range(3)]
    first = next(at for at in range(3) if at not in firing) + 1
    with pytest.warns(UserWarning, match=f"^Trainer: the input of batch {first} is 0 everywhere"):
        t.train(given)
    t.train(given)
    t.test(given)
    assert t.silent_batch == (None if firing else given[-1])


@pytest.mark.cpu_only
@pytest.mark.parametrize("parallel", [None, DataParallel(Context(), micro=1)])
def test_a_test_of_silent_input_gives_a_warning(parallel):
    """Of a batch in which one recording has a spike there is none."""
    x = np.zeros((20, 3, 6), bool)
    x[4, 1, 2] = True
    t = trainer(parallel=parallel)
    t.train([(x, np.zeros(3, int))])
    with pytest.warns(
        UserWarning, match=r"^Trainer: the input of batch 2 is 0 everywhere, it has no spikes; check the"
    ):
        t.test([(x, np.zeros(3, int)), (np.zeros_like(x), np.zeros(3, int))])


def test_an_epoch_of_some_batches():
    """Of a generator no more is taken."""
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield batches((2,))[0]

    t = trainer()
    assert t.train(endless(), steps=3).loss > 0
    assert t.test(endless(), steps=2).loss > 0
    assert len(taken) == 5
    cs.seed(1)
    whole = trainer().train(batches((3, 2)))
    for steps in (2, 7):
        cs.seed(1)
        assert trainer().train(batches((3, 2)), steps=steps) == whole
    cs.seed(1)
    assert trainer().train(batches((3, 2)), steps=1) != whole


def test_the_scale_of_the_loss_is_of_the_scores_alone():
    found = []
    for scale in (1.0, 4.0):
        cs.seed(1)
        net = cs.Sequential(cs.Dense(6, 2), SRM)
        t = Trainer(net, cs.SpikeCountLoss(SRM, true=5, false=1), cs.SGD(net.parameters(), 0.01), loss_scale=scale)
        found.append((t.train(batches()), t.test(batches()), net[0].weight.data))
    (train, test, weight), (scaled, scaled_test, same) = found
    assert (scaled.loss, scaled_test.loss) == (pytest.approx(4 * train.loss), pytest.approx(4 * test.loss))
    assert scaled.accuracy == train.accuracy
    assert (weight == same).all()


def test_errors_of_options():
    net = cs.Sequential(cs.Dense(6, 2), SRM)
    given = net, cs.SpikeCountLoss(SRM), cs.SGD(net.parameters())
    with pytest.raises(ValueError, match=r"^Trainer: loss_scale must be positive, got 0$"):
        Trainer(*given, loss_scale=0)
    for run in (Trainer(*given).train, Trainer(*given).test):
        with pytest.raises(ValueError, match=r"^(train|test): steps must be at least 1, got 0$"):
            run(batches(), steps=0)
        with pytest.raises(TypeError, match=r"^(train|test): steps must be an integer, got float$"):
            run(batches(), steps=1.5)


@pytest.mark.cpu_only
def test_the_bar_has_the_batches_that_are_left():
    done = Tally()
    done.add(np.zeros((20, 3, 2), bool), [0, 1, 1], 3.0)
    for steps, total in ((None, 3), (2, 2), (7, 3)):
        progress = Progress(batches((3, 2, 4)), "train", False, 3, steps, done.state(), lambda tally: None)
        assert (progress.bar.n, progress.bar.total) == (1, total)
        assert [x.shape[1] for x, _ in progress.bar] == [2, 4][: total - 1]
        assert progress._text().startswith("loss 1, accuracy 33.3%, ")


def test_the_estimate_leaves_the_first_step_out(monkeypatch):
    """It may compile kernels for a minute: ten steps of a second behind it leave a second for each step to come."""
    now = 0.0
    bar = _Bar(range(100), lambda: "", disable=True)
    monkeypatch.setattr("cuslayer.training.progress.perf_counter", lambda: now)
    assert bar.format_dict["rate"] == 0  # shown as a question mark
    monkeypatch.setattr(tqdm, "update", lambda self, n=1: setattr(self, "n", self.n + n))
    now = 60.0
    bar.update(1)
    now = 70.0
    bar.update(10)
    assert bar.format_dict["rate"] == 1
