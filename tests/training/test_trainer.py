"""The trainer: equal to a plain loop, with scores that are means over samples."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from tqdm import tqdm

import cuslayer as cs
from cuslayer.distributed import Context, DataParallel
from cuslayer.training import Callback, EarlyStopping, GradientFlow, Log, Tally, Trainer
from cuslayer.training.progress import Progress, _Bar
from tests.support.refused import refuses

SRM = cs.SRM(tau_sr=4.0)


def batches(sizes=(3, 2), classes=2, seed=5):
    rng = np.random.default_rng(seed)
    return [(rng.random((20, n, 6)) < 0.3, rng.integers(classes, size=n)) for n in sizes]


def trainer(*layers, loss=None, lr=0.01, **options):
    net = cs.Sequential(*(layers or (cs.Dense(6, 2), SRM)))
    loss = loss or cs.SpikeCountLoss(SRM, true=5, false=1)
    return Trainer(net, loss, cs.SGD(net.parameters(), lr), calibrate=None, **options)


def test_training_equals_a_plain_loop():
    """Which counts by itself, and by `Stats`."""
    cs.seed(1)
    t, log = trainer(), cs.training.Stats()
    first = t.net.layers[0].weight.data.copy()
    cs.seed(1)
    net = cs.Sequential(cs.Dense(6, 2), SRM)
    loss, optimizer, stats = (
        cs.SpikeCountLoss(SRM, true=5, false=1),
        cs.SGD(net.parameters(), 0.01),
        cs.training.Stats(),
    )
    for epoch in (1, 2):
        expected = []
        for part, tally in (("train", stats.training), ("test", stats.test)):
            total, right = 0.0, 0
            for x, labels in batches():
                spikes = net(x)
                value = loss(spikes, labels)
                if part == "train":
                    optimizer.zero_grad()
                    value.backward()
                    optimizer.step()
                tally.add(spikes, labels, value)
                total += value.item()
                right += int((cs.classify(spikes) == labels).sum())
            expected += [pytest.approx(total / 5), right / 5]
        row = stats.end_epoch()
        own = log.end_epoch(t.train(batches()), test=t.test(batches()))
        scores = [own.epoch, own.train_loss, own.train_accuracy, own.test_loss, own.test_accuracy]
        assert scores == [epoch, *expected]
        assert (own.validation_loss, own.seconds > 0) == (None, True)
        assert [row.train_loss, row.train_accuracy, row.test_loss, row.test_accuracy] == expected
        assert stats.training.samples == stats.test.samples == 0
    assert not np.array_equal(first, net.layers[0].weight.data)
    assert np.array_equal(t.net.layers[0].weight.data, net.layers[0].weight.data)


def test_testing_changes_nothing():
    layer = cs.Dropout(0.5)
    t = trainer(cs.Dense(6, 8), SRM, layer, cs.Dense(8, 2), SRM)
    before = t.net.layers[0].weight.data.copy()
    assert t.test(batches()) == t.test(batches())
    assert np.array_equal(t.net.layers[0].weight.data, before)
    assert t.net.layers[0].weight.grad is None
    assert layer.training
    t.net.layers[0].training = False
    t.test(batches())
    assert [t.net[0].training, layer.training] == [False, True]
    assert t.net.eval() is t.net.train(False) is t.net
    t.train(batches())
    assert layer.training


@pytest.mark.parametrize("way", ["train", "test", "prepare", "calibrate", "diagnose"])
def test_without_a_sample_there_is_no_score(way):
    """Nor with an iterator that the epoch before has used up; weights, schedule and gradients stay as they were."""
    t = trainer()
    t.calibrate = 30.0 if way == "prepare" else None
    calls = {"calibrate": lambda x: cs.calibrate(t.net, x), "diagnose": lambda x: cs.diagnose(t.net, x)}
    call = calls.get(way) or getattr(t, way)
    before = t.net.state()["0.weight"].copy()
    once = "; an iterator gives its batches once, pass a list or a Loader"
    used = iter(batches())
    assert [len(y) for _, y in used] == [3, 2]
    sources = [([], ""), ((), ""), (iter([]), once), ((b for b in ()), once), (map(tuple, []), once), (used, once)]
    sources += [] if way in ("calibrate", "prepare") else [([(np.ones((20, 0, 6), bool), np.zeros(0, int))], "")]
    for source, hint in sources:
        with pytest.raises(ValueError, match=rf"^{way}: (batches|loader) must have a .*, got none{hint}$"):
            call(source)
    assert (t.net.state()["0.weight"] == before).all()
    assert (t.optimizer.epoch, t.gradients.epochs) == (0, [])


def test_a_generator_serves_one_epoch():
    t, source = trainer(), (b for b in batches())
    assert t.train(source).loss > 0
    for _ in range(2):
        with refuses("train: batches must have a batch", "got none; an iterator"):
            t.train(source)
        assert t.optimizer.epoch == 1
    assert t.train(batches()).loss > 0
    assert (t.optimizer.epoch, len(t.gradients.epochs)) == (1, 2)


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
    lines = []
    t.log = lines.append
    t.net[0].weight.data = abs(t.net[0].weight.data)
    loud, silent = np.ones((20, 3, 6), bool), np.zeros((20, 3, 6), bool)
    assert t.net(loud).data.any()
    given = [(loud if at in firing else silent, np.zeros(3, int)) for at in range(3)]
    first = next(at for at in range(3) if at not in firing) + 1
    with pytest.warns(UserWarning, match=f"^(train|test): the input of batch {first} is 0 everywhere"):
        t.train(given)
    t.train(given)
    t.test(given)
    assert t.silent_batch == (None if firing else given[-1])
    assert sum("the output has no spikes" in line for line in lines) == (not firing)


@pytest.mark.cpu_only
@pytest.mark.parametrize("parallel", [None, DataParallel(Context(), micro=1)])
def test_a_test_of_silent_input_gives_a_warning(parallel):
    """Of a batch in which one recording has a spike there is none."""
    x = np.zeros((20, 3, 6), bool)
    x[4, 1, 2] = True
    t = trainer(parallel=parallel)
    t.train([(x, np.zeros(3, int))])
    with pytest.warns(
        UserWarning, match=r"^(train|test): the input of batch 2 is 0 everywhere, it has no spikes; check the"
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


def test_errors():
    x, _ = batches((3,))[0]
    for label in (2, -1):
        with pytest.raises(ValueError, match=f"label {label} of sample 1 is none of 2 classes"):
            trainer().train([(x, np.array([0, label, 1]))])
    net = cs.Sequential(cs.Dense(6, 2), SRM)
    given = net, cs.SpikeCountLoss(SRM), cs.SGD(net.parameters())
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


# The gradient flow: the sizes by their formula, and the file.


def flowing(lr=0.01):
    cs.seed(3)
    return trainer(cs.Dense(6, 5), SRM, cs.Dense(5, 2), SRM, lr=lr)


def test_the_trainer_records_the_gradients_of_a_plain_loop():
    net = flowing().net
    loss, optimizer = cs.SpikeCountLoss(SRM, true=5, false=1), cs.SGD(net.parameters(), 0.01)
    squares = {"0 Dense": [], "2 Dense": []}
    flow = GradientFlow(net)
    for x, labels in batches((4,) * 6):
        optimizer.zero_grad()
        loss(net(x), labels).backward()
        flow.add()
        for name, p in zip(squares, net.parameters(), strict=True):
            squares[name].append((p.grad.astype(float) ** 2).mean())
        optimizer.step()
    whole = {name: pytest.approx(math.sqrt(np.mean(each)), rel=1e-5) for name, each in squares.items()}
    assert flow.end_epoch() == whole
    t = flowing()
    t.train(batches((4,) * 6))
    t.test(batches((4,) * 3))
    (sizes,) = t.gradients.epochs
    fourth = {name: pytest.approx(math.sqrt(np.mean(each[::4])), rel=1e-5) for name, each in squares.items()}
    assert sizes == fourth != whole
    assert all(size > 0 for size in sizes.values())
    t.train(batches((4,) * 3))
    assert len(t.gradients.epochs) == 2
    assert t.gradients.epochs[0] == sizes


def test_an_epoch_starts_from_zero():
    t, other = flowing(lr=0.0), flowing(lr=0.0)
    t.train(batches((4,) * 5))
    t.train(batches((4,)))
    other.train(batches((4,)))
    assert t.gradients.epochs[0] != t.gradients.epochs[1] == other.gradients.epochs[0]


def test_an_epoch_without_a_gradient():
    flow = GradientFlow(flowing().net)
    flow.add()
    assert flow.end_epoch() == {"0 Dense": 0.0, "2 Dense": 0.0}


def test_the_file_of_the_flow(tmp_path):
    t = flowing()
    t.train(batches((4,) * 5))
    t.train(batches((4,) * 5))
    t.gradients.save(tmp_path / "flow.csv")
    text = (tmp_path / "flow.csv").read_text().splitlines()
    assert text[0] == "epoch,0 Dense,2 Dense"
    assert [line.split(",")[0] for line in text[1:]] == ["1", "2"]
    again = GradientFlow(flowing().net)
    again.load(tmp_path / "flow.csv")
    for mine, other in zip(again.epochs, t.gradients.epochs, strict=True):
        assert mine == pytest.approx(other, rel=1e-9)
    # Reading and writing is exact.
    again.save(tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "flow.csv").read_bytes()
    again.load(tmp_path / "flow.csv", 1)
    assert len(again.epochs) == 1
    again.load(tmp_path / "flow.csv", 3)
    assert again.epochs[2] == {}
    again.save(tmp_path / "gap.csv")
    assert (tmp_path / "gap.csv").read_text().splitlines()[3] == "3,,"
    other = GradientFlow(flowing().net)
    other.load(tmp_path / "gap.csv")
    assert other.epochs == again.epochs


def test_an_epoch_of_train_is_one_of_the_schedule_and_a_loss_is_a_number():
    net, batch = cs.Sequential(cs.Dense(6, 2), SRM), [(np.ones((20, 3, 6), bool), [0, 1, 0])]
    optimizer = cs.SGD(net.parameters(), cs.optim.step_decay(0.5, every=1, factor=0.5))
    trainer = cs.Trainer(net, cs.SpikeCountLoss(SRM, true=5, false=1), optimizer, calibrate=None)
    rates = [optimizer.lr for _ in range(3) if trainer.train(batch)]
    assert rates == [0.5, 0.25, 0.125]
    for loss in (lambda s, y: 1.0, lambda s, y: s.sum(axis=0)):
        with refuses("train: the loss must return a Tensor of one number, such as (error * error).sum()"):
            cs.Trainer(net, loss, optimizer, calibrate=None).train(batch)


# Several outputs, a score of one's own, fit and callbacks.


class Two(cs.Sequential):
    """Two outputs: spikes of classes, and numbers."""

    def __init__(self):
        super().__init__(cs.Dense(6, 8), SRM)
        self.classes = cs.Sequential(cs.Dense(8, 2), SRM)
        self.place = cs.ReadOut(8, 3)

    def __call__(self, x):
        hidden = super().__call__(x)
        return {"classes": self.classes(hidden), "place": (self.place(hidden),)}


def two_losses(output, target):
    place = output["place"][0]
    return cs.SpikeCountLoss(SRM, true=5, false=1)(output["classes"], target) + (place * place).sum()


def right(output, target):
    return (cs.classify(output["classes"]) == target).mean()


@pytest.mark.parametrize("parallel", [None, DataParallel(Context(), micro=2)])
def test_several_outputs_and_a_score_of_ones_own(parallel):
    cs.seed(1)
    net = Two()
    t = Trainer(net, two_losses, cs.SGD(net.parameters(), 0.0), score=right, parallel=parallel, log=print)
    score = t.train(batches())
    with cs.no_grad():
        outputs = [(net(x), labels) for x, labels in batches()]
    assert score.accuracy is None
    assert score.score == pytest.approx(sum(right(*each) * len(each[1]) for each in outputs) / 5)
    assert score.loss == pytest.approx(sum(two_losses(*each).item() for each in outputs) / 5, rel=1e-5)
    assert t.test(batches()) == pytest.approx(score)
    t.score = None
    assert t.test(batches())[1:] == (None, None)
    net.place.weight.data[0, 0] = np.inf
    with pytest.raises(ValueError, match=r"^test: epoch 1, before the first batch: parameter 2 of the optimizer"):
        t.test(batches())


def test_a_score_of_ones_own_is_in_the_log(tmp_path):
    t = trainer(score=lambda spikes, labels: -float(abs(spikes.data.sum(axis=0) - 3).mean()))
    stats = t.fit(batches(), batches(), epochs=2)
    assert [row.validation_score < 0 for row in stats.epochs] == [True, True]
    assert re.search(r"\| validation loss [0-9.]+, score -[0-9.]+ \|", str(stats))
    stats.save(tmp_path / "log.csv")
    again = cs.training.Stats.load(tmp_path / "log.csv")
    assert [row.validation_score for row in again.epochs] == pytest.approx([r.validation_score for r in stats.epochs])
    with refuses("train: score must return one number, the mean of a batch"):
        trainer(score=lambda spikes, labels: np.ones(3)).train(batches())
    with refuses("train: score must return one number, the mean of a batch"):
        trainer(score=lambda spikes, labels: None).train(batches())


class Noted(Callback):
    """Notes the moments at which it is called, and ends the training after the second epoch."""

    def __init__(self):
        self.calls = []

    def goes_on(self, trainer):
        self.calls.append("goes on?")
        return len(trainer.stats.epochs) < 2

    def before_epoch(self, trainer):
        self.calls.append(trainer.optimizer.epoch)

    def after_step(self, trainer, score):
        self.calls.append(score.batches)

    def after_test_step(self, trainer, score):
        self.calls.append(f"test {score.batches}")

    def after_epoch(self, trainer):
        self.calls.append(trainer.stats.epochs[-1])


def test_fit_calls_its_callbacks_and_equals_a_loop():
    noted, said = Noted(), []
    cs.seed(1)
    t = trainer(callbacks=[noted, Log()], log=said.append)
    stats = t.fit(batches(), batches(), epochs=3)
    assert stats is t.stats
    first, second = stats.epochs
    of_epoch = [1, 2, "test 1", "test 2"]
    assert noted.calls == ["goes on?", 0, *of_epoch, first, "goes on?", 1, *of_epoch, second, "goes on?"]
    assert said == [str(first), str(second)]
    cs.seed(1)
    other = trainer()
    for row in (first, second):
        assert (row.train_loss, row.train_accuracy) == other.train(batches())[:2]
        assert (row.validation_loss, row.validation_accuracy, row.lr) == (*other.test(batches())[:2], 0.01)
    assert np.array_equal(t.net[0].weight.data, other.net[0].weight.data)


def test_early_stopping():
    said = []
    t = trainer(lr=0.0, callbacks=[EarlyStopping(2)], log=said.append)
    assert len(t.fit(batches(), batches(), epochs=9).epochs) == 3
    assert said == ["the run ends, as 2 epochs had no better validation score than epoch 1"]
    with refuses("EarlyStopping: validation batches are needed"):
        trainer(callbacks=[EarlyStopping(2)]).fit(batches(), epochs=9)
    with refuses("Trainer: callbacks must be Callback objects"):
        trainer(callbacks=[lambda: 0])
