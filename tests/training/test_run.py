"""A whole run: its files, its seed, and resuming with identical results."""

from __future__ import annotations

import errno
import os
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import cuslayer as cs
from cuslayer import backend
from cuslayer.data import Loader, open_folder
from cuslayer.network.notation import Word
from cuslayer.training import (
    Checkpoint,
    Config,
    EpochStats,
    data_of_run,
    figures,
    find_run,
    load_checkpoint,
    load_config,
    load_run,
    load_stats,
    train,
)
from cuslayer.training import run as run_module
from cuslayer.training.figures import draw_curves, save_figure
from cuslayer.training.optimizer import OptimizerConfig
from tests.support.refused import refuses
from tests.support.tiny import (
    COUNTS,
    FILES,
    HEADER,
    TIMES,
    fails,
    memory,
    no_figures,
    rows_of_training,
    rows_without_seconds,
    silent,
    weights,
    write_folder,
    write_pair,
)
from tools.fake_cupy import strict

needs_driver = pytest.mark.skipif(bool(backend._driver_problem()), reason="no CUDA")


@pytest.fixture(autouse=True)
def _quick(request, monkeypatch):
    if "pictures" not in request.fixturenames:
        no_figures(monkeypatch)


@pytest.fixture
def pictures():
    """Request that the figures are drawn."""


@pytest.fixture
def config(tmp_path):
    """A short run."""
    data, out = str(write_folder(tmp_path / "data")), str(tmp_path / "out")
    options = {
        "layers": ("34x34x2", "8", "3"),
        "error": COUNTS,
        "data": data,
        "out": out,
    }
    return Config(duration=30.0, epochs=2, batch=4, **options)


@pytest.fixture
def pair(tmp_path):
    """A run with spike times."""
    data = write_pair(tmp_path / "pair")
    layers, out = ("5", "8", "5"), str(tmp_path / "out")
    return Config(error=TIMES, duration=30.0, layers=layers, epochs=2, batch=1, data=str(data), out=out)


def test_the_files_of_a_run(config, tmp_path, pictures):
    said = []
    out = train(config, log=said.append)
    assert out == tmp_path / "out"
    assert sorted(p.name for p in out.iterdir()) == FILES
    header, *rows = (out / "metrics.csv").read_text().splitlines()
    assert header == HEADER
    assert [row.split(",")[0] for row in rows] == ["1", "2"]
    first, last = load_stats(out / "metrics.csv")
    for row in (first, last):
        assert row.train_loss > 0
        assert 0 <= row.train_accuracy <= 1
        assert row.seconds > 0
    assert (first.test_loss, first.test_accuracy) == (None, None)
    assert last.test_loss > 0
    assert 0 <= last.test_accuracy <= 1
    assert load_config(out / "config.yaml") == config
    header, *rows = (out / "gradients.csv").read_text().splitlines()
    assert header == "epoch,0 Dense,2 Dense"
    assert [row.split(",")[0] for row in rows] == ["1", "2"]
    for name in ("curves.png", "raster.png"):
        assert re.fullmatch(rb"\x89PNG\r\n\x1a\n.*IEND\xaeB`\x82", (out / name).read_bytes(), re.DOTALL)
    assert load_checkpoint(out / "checkpoint.npz").epoch == 2
    assert said[0] == f"34x34x2-8-3: 18,520 weights on {backend.device_name()}; results go to {out}"
    assert said[2].startswith("weights times  rate before  after (Hz)  layer\n")
    epochs = [line.partition(" loss")[0] for line in said[3:] if "warning" not in line]
    assert epochs == ["epoch   1 | train", "epoch   2 | train", "epoch   2 | test"]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, needs_driver])])
@pytest.mark.parametrize("kind", ["Adam", "NAdam", "SGD"])
def test_a_resumed_run_equals_an_uninterrupted_run(config, tmp_path, device, kind):
    cs.use(device)
    optimizer = OptimizerConfig(type=kind, lr=0.02, momentum=0.5, schedule="step", every=1, factor=0.5)
    config = config.with_options(optimizer=optimizer)
    whole = train(config.with_options(epochs=4, out=str(tmp_path / "whole")), log=silent)
    out = train(config.with_options(epochs=2), log=silent)
    assert rows_of_training(out) == rows_of_training(whole)[:3]
    assert weights(out) != weights(whole)
    # Random numbers drawn in between do not matter.
    backend.generator().random(7)
    train(config.with_options(epochs=4), resume=True, log=silent)
    assert rows_of_training(out) == rows_of_training(whole)
    assert rows_without_seconds(out)[-1] == rows_without_seconds(whole)[-1]
    assert weights(out) == weights(whole)
    assert memory(out) == memory(whole)


def test_the_tables_of_a_run_that_was_killed_between_them_and_its_checkpoint(config, tmp_path):
    config = config.with_options(optimizer=OptimizerConfig(lr=0.02))
    whole = train(config.with_options(epochs=3, out=str(tmp_path / "whole")), log=silent)
    out = train(config, log=silent)
    flow = (whole / "gradients.csv").read_text().splitlines()
    assert (out / "gradients.csv").read_text().splitlines() == flow[:3]
    shutil.copytree(out, tmp_path / "without")
    for name, row in (("metrics.csv", "3,1,1,1,1,1,1,1,1\n"), ("gradients.csv", "3,1,1\n")):
        with (out / name).open("a") as file:
            file.write(row)
    train(config.with_options(epochs=3), resume=True, log=silent)
    assert rows_of_training(out) == rows_of_training(whole)
    assert (out / "gradients.csv").read_text().splitlines() == flow
    # Without its table of gradients a run goes on, with a damaged one it does not begin.
    out = tmp_path / "without"
    config = config.with_options(epochs=3, out=str(out))
    (out / "gradients.csv").write_text("epoch,0 Dense\n1,1\n2,1\n")
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    with pytest.raises(ValueError, match=r"gradients\.csv does not begin with epoch,0 Dense,2 Dense$"):
        train(config, resume=True, log=silent)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    (out / "gradients.csv").unlink()
    train(config, resume=True, log=silent)
    assert (out / "gradients.csv").read_text().splitlines() == [flow[0], "1,,", "2,,", flow[3]]


def test_the_seed_determines_the_run(config, tmp_path):
    first = train(config, log=silent)
    second = train(config.with_options(out=str(tmp_path / "again")), log=silent)
    other = train(config.with_options(seed=1, out=str(tmp_path / "other")), log=silent)
    assert rows_without_seconds(first) == rows_without_seconds(second)
    assert weights(first) == weights(second)
    assert rows_without_seconds(first) != rows_without_seconds(other)
    assert weights(first) != weights(other)


@pytest.mark.parametrize(("silences", "warned"), [("1111", "1000"), ("1101", "1001"), ("0110", "0100"), ("00", "00")])
def test_each_silence_is_said_once(config, monkeypatch, silences, warned):
    """Weights are small in some epochs: a warning when the output falls silent, and another when it does so again."""
    real, weights = run_module.Trainer.train, []

    def of_an_epoch(self, *given, **options):
        parameters = self.net.parameters()
        weights.extend(p.data.copy() for p in parameters if len(weights) < len(parameters))
        for p, start in zip(parameters, weights, strict=True):
            p.data[...] = (0.01 if silences[self.optimizer.epoch] == "1" else 30) * abs(start)
        return real(self, *given, **options)

    monkeypatch.setattr(run_module.Trainer, "train", of_an_epoch)
    look = cs.diagnose if "1" in silences else lambda *_, **__: pytest.fail("looked")
    said = []
    train(config.with_options(epochs=len(silences), lr=1e-30, initialization="slayer"), log=said.append, diagnose=look)
    found = ""
    for line in said[1:-1]:
        found = f"{found}0" if line.startswith("epoch ") else f"{found[:-1]}1"
        assert line.startswith(("epoch ", "warning: layer 1 (Dense((34, 34, 2), 8), SRM) is silent; weight_scale "))
        assert "\n" not in line
    assert found == warned


def test_spike_times(pair, pictures):
    out = train(pair, log=silent)
    assert sorted(p.name for p in out.iterdir()) == FILES
    header, *rows = (out / "metrics.csv").read_text().splitlines()
    assert (header, len(rows)) == (HEADER, 2)
    for row in rows:
        _, train_loss, *others, _ = row.split(",")
        assert float(train_loss) > 0
        assert others[:-1] == [""] * 5


def test_spike_times_are_rounded_to_the_nearest_step(pair, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "draw_rasters", lambda figure, trains, dt: drawn.extend(trains))
    monkeypatch.setattr(figures, "save_figure", lambda path, draw, *, size: "raster" in path.name and draw(None))
    train(pair, log=silent)
    events = data_of_run.read_events(os.path.join(pair.data, "input.bs1"))
    assert np.array_equal(drawn[0][1], events.to_spikes(5, 30, rounding="nearest"))


# Half the rate after every second epoch, and a cosine over four epochs.
RATES = {"step": [0.4, 0.4, 0.2, 0.2], "cosine": [0.4, 0.2 + 0.1 * 2**0.5, 0.2, 0.2 - 0.1 * 2**0.5]}


@pytest.mark.parametrize("schedule", RATES)
def test_each_epoch_has_the_learning_rate_of_its_number(pair, monkeypatch, schedule):
    step, seen = cs.SGD.step, []
    monkeypatch.setattr(cs.SGD, "step", lambda self: seen.append((self.epoch, self.lr)) or step(self))
    optimizer = OptimizerConfig(type="SGD", lr=0.4, schedule=schedule, every=2, factor=0.5)
    config = pair.with_options(optimizer=optimizer, epochs=4)
    train(config, log=silent)
    assert [epoch for epoch, _ in seen] == [0, 1, 2, 3]
    assert [rate for _, rate in seen] == pytest.approx(RATES[schedule])
    if schedule == "step":
        seen.clear()
        train(config.with_options(epochs=6), resume=True, log=silent)
        assert seen == [(4, pytest.approx(0.1)), (5, pytest.approx(0.1))]


def test_each_epoch_has_the_order_of_its_number(config, monkeypatch):
    """The order depends on the epoch of the loader. Calibration and balancing read first batches of the same epoch."""
    ordered, seen = Loader.__iter__, []
    monkeypatch.setattr(Loader, "__iter__", lambda self: seen.append((self.shuffle, self.epoch)) or ordered(self))
    train(config, log=silent)
    train(config.with_options(epochs=4), resume=True, log=silent)
    epochs = [epoch for shuffled, epoch in seen if shuffled]
    assert epochs == sorted(epochs)
    assert set(epochs) == {0, 1, 2, 3}


def test_the_figures_show_the_run(config, monkeypatch):
    drawn = {}
    monkeypatch.setattr(figures, "save_figure", lambda path, draw, *, size: path.stem == "gradients" or draw(None))
    monkeypatch.setattr(figures, "draw_curves", lambda figure, rows: drawn.update(rows=list(rows)))
    monkeypatch.setattr(figures, "draw_rasters", lambda figure, trains, dt: drawn.update(trains=trains, dt=dt))
    out = train(config, log=silent)
    assert [row.epoch for row in drawn["rows"]] == [1, 2]
    _, tests = data_of_run.open_folder(config.data)
    events, label = tests[0]
    (first, x), (hidden, h), (last, y) = drawn["trains"]
    assert (first, hidden, last) == (f"input, class {label}", "after Dense((34, 34, 2), 8)", "output")
    assert np.array_equal(x, events.to_spikes((34, 34, 2), 30))
    net = config.network()
    net.load_state(load_checkpoint(out / "checkpoint.npz").network)
    assert np.array_equal(y, net(x[:, None]).numpy()[:, 0])
    assert h.shape == (30, 8)
    assert drawn["dt"] == 1.0


def test_the_embedded_digits(tmp_path, monkeypatch):
    # The whole set takes minutes: only a few recordings are used here, read in the same way.
    chosen = {}

    class Few(data_of_run.Digits):
        def __init__(self, split, seed=0):
            super().__init__(split, seed)
            chosen[split] = seed
            self._number, self.labels = self._number[:4], self.labels[:4]

    monkeypatch.setattr(data_of_run, "Digits", Few)
    config = Config(layers=("34x34x2", "10"), epochs=1, batch=4, out=str(tmp_path / "out"))
    assert sorted(p.name for p in train(config, log=silent).iterdir()) == FILES
    assert chosen == {"train": 0, "test": 0}


def test_given_lists(config, tmp_path, monkeypatch):
    data = tmp_path / "data"
    (data / "other.txt").write_text("1 0\n")
    (data / "train.txt").rename(data / "named.txt")
    # In the folder, or, as in SLAYER, relative to the working directory.
    monkeypatch.chdir(tmp_path)
    for name in ("named.txt", os.path.join("data", "named.txt")):
        named = config.with_options(train_list=name, test_list="other.txt", out=str(tmp_path / name.replace("/", "-")))
        assert sorted(p.name for p in train(named, log=silent).iterdir()) == FILES
    with pytest.raises(ValueError, match=r"list .*none\.txt does not exist"):
        train(config.with_options(train_list="none.txt", test_list="other.txt", out="new"), log=silent)


# Runs that fail: one line, and the folder stays as it was or keeps the last checkpoint. More are in tests/cli.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": ("34x34x2", "4c5")}, r"train: the network must end in a dense layer, its output is \(34, 34, 4\)"),
        ({"layers": ()}, "layer is missing: the configuration has no network"),
        ({"duration": 0.1}, "steps must be at least 1, got 0"),
        ({"layers": ("34x34x2", "8", "2")}, "train: the network has 2 outputs, the recordings have 3 classes"),
    ],
)
def test_configurations_that_do_not_fit_raise(config, tmp_path, options, message):
    fails(config, message, **options, out=str(tmp_path / "new" / "deep" / "out"))


def test_a_failed_first_epoch_keeps_an_existing_folder(config, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "data" / "2.bs2").write_bytes(b"")
    fails(config, "is empty")


def test_spike_times_that_do_not_fit(pair, config, tmp_path):
    fails(pair, r"read_events: .*input\.bs1 does not exist", data=config.data)
    fails(pair, r"events must lie within 4 neurons", layers=("4", "5"))
    fails(pair, r"events must lie within 4 neurons", layers=("5", "4"))
    fails(pair, r"train: SpikeTime expects a network of \(N,\) inputs, got \(34, 34, 2\)", layers=("34x34x2", "5"))
    missing = Config(**{**vars(pair), "data": None})
    fails(missing, "train: SpikeTime needs a folder with input.bs1 and output.bs1, and no data is named")


def test_a_folder_that_cannot_be_written_to(config, monkeypatch):
    real = os.open

    def read_only(path, *flags, **options):
        if os.path.basename(path) == "lock":
            raise OSError(errno.EROFS, "Read-only file system")
        return real(path, *flags, **options)

    monkeypatch.setattr(os, "open", read_only)
    fails(config, r"^train: .*out/lock cannot be written \(Read-only file system\); write elsewhere$")


def test_nothing_to_resume(config, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"train: no checkpoint to resume from in .*out$"):
        train(config, resume=True, log=silent)
    assert not (tmp_path / "out").exists()
    monkeypatch.chdir(tmp_path)
    with refuses("train: no checkpoint to resume from in runs/0"):
        find_run(None)


# The figures: their data, not their style.


@pytest.fixture
def figure():
    figure = Figure(figsize=(6, 3), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def lines(axis):
    return {line.get_label(): (line.get_xdata().tolist(), line.get_ydata().tolist()) for line in axis.get_lines()}


def test_curves(figure):
    draw_curves(figure, [EpochStats(1, 400.0, 0.0, None, None, 1.0), EpochStats(2, 200.0, 0.7, None, None, 1.0)])
    loss, accuracy = figure.axes
    assert lines(loss) == {"train": ([1, 2], [400.0, 200.0])}
    assert lines(accuracy) == {"train": ([1, 2], [0.0, 0.7])}
    figure.canvas.draw()
    assert all(tick == round(tick) for tick in loss.get_xticks())
    figure.clear()
    draw_curves(figure, [EpochStats(1, 5.0, None, None, None, 1.0)])
    assert [lines(axis) for axis in figure.axes] == [{"train": ([1], [5.0])}]


def test_save_figure(tmp_path):
    """A failed one keeps the old file."""
    save_figure(tmp_path / "x.png", lambda figure: figure.subplots().plot([1, 2]), size=(3, 2))
    raw = (tmp_path / "x.png").read_bytes()
    assert raw.startswith(b"\x89PNG\r\n\x1a\n")
    assert (int.from_bytes(raw[16:20], "big"), int.from_bytes(raw[20:24], "big")) == (360, 240)

    def spoil(figure):
        raise ValueError("no drawing")

    with pytest.raises(ValueError, match="no drawing"):
        save_figure(tmp_path / "x.png", spoil, size=(3, 2))
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [raw]


# `load_run` gives back what a run learned, and names what is missing.


@pytest.fixture
def varied(tmp_path):
    data, out = str(write_folder(tmp_path / "data")), str(tmp_path / "out")
    srm = cs.SRM(theta=0.5, tau_sr=5.0, gradient="exact")
    layers = (Word("34x34x2"), Word("4a", neuron=cs.SRM(theta=2.0)), Word("6", delay=True, max_delay=3.0), Word("3"))
    options = {
        "layers": layers,
        "error": COUNTS,
        "data": data,
        "out": out,
    }
    return Config(neuron=srm, duration=30.0, epochs=2, batch=4, **options)


@pytest.mark.all
def test_the_network_the_configuration_and_the_statistics(varied, tmp_path):
    out = train(varied, log=silent)
    for path in (out, str(out), out / "checkpoint.npz"):
        run = load_run(path)
        assert run.config == varied
        assert run.stats.epochs == load_stats(out / "metrics.csv")
        assert run.stats.best in run.stats.epochs
        assert (run.epoch, run.folder) == (2, out)
        assert run.net.notation == "34x34x2-4a-6-3"
        saved = load_checkpoint(out / "checkpoint.npz").network
        assert all((saved[name] == array).all() for name, array in run.net.state().items())
    # The scores are those of the run: the network is the trained one, with its neurons.
    x, labels = next(iter(cs_loader(varied)))
    with cs.no_grad():
        spikes = run.net(x)
    loss = run.config.loss()(spikes, labels).item() / len(labels)
    assert loss == pytest.approx(run.stats.epochs[-1].test_loss, rel=1e-6)
    shutil.move(out, tmp_path / "elsewhere")
    run = load_run(tmp_path / "elsewhere")
    assert (run.epoch, run.folder) == (2, tmp_path / "elsewhere")


def cs_loader(config):
    return Loader(open_folder(config.data)[1], 3, steps=config.steps)


@pytest.mark.all
def test_evaluation_mode_and_the_random_generator(varied):
    out = train(varied, log=silent)
    cs.seed(3)
    expected = backend.generator().random()
    cs.seed(3)
    run = load_run(out)
    assert backend.generator().random() == expected
    assert not any(layer.training for layer in run.net.layers if isinstance(layer, cs.Layer))
    # It can be trained on, and saved by itself.
    run.net.train()
    cs.save(run.net, out / "net.npz")
    x = np.ones((30, 1, 34, 34, 2), bool)
    assert (cs.load(out / "net.npz")(x).data == run.net(x).data).all()


@pytest.mark.parametrize("neuron", [cs.Loihi(vth_mant=10), cs.SRM(theta=0.5, scale_rho=1.0)])
def test_spike_times_and_other_neurons(tmp_path, neuron):
    options = {"data": str(write_pair(tmp_path / "pair")), "out": str(tmp_path / "out"), "batch": 1, "epochs": 1}
    nadam = OptimizerConfig("NAdam", momentum_decay=None)
    config = Config(neuron=neuron, error=TIMES, duration=30.0, layers=("5", "8", "5"), optimizer=nadam, **options)
    run = load_run(train(config, log=silent))
    assert run.config == config
    assert run.net[1] == neuron
    assert run.stats.epochs[0].train_accuracy is None


@pytest.mark.all
def test_on_the_gpu(varied):
    out = train(varied, log=silent)
    x = next(iter(cs_loader(varied)))[0][:8]
    expected = load_run(out).net(x).numpy()
    with strict():
        cs.use("cuda")
        net = load_run(out).net
        assert all(backend.namespace(p.data) is not np for p in net.parameters())
        found = net(x).numpy()
        cs.use("cpu")
    assert (found == expected).all()


def test_a_configuration_of_a_larger_network(varied, tmp_path):
    """Weights are not drawn that the checkpoint cannot have: a configuration of one line may ask for any number."""
    net = varied.network()
    Checkpoint.of(0, net, cs.SGD(net.parameters())).save(tmp_path / "checkpoint.npz")
    (tmp_path / "config.yaml").write_text(replace(varied, layers=(*varied.layers, Word("2000000"))).to_yaml())
    with pytest.raises(ValueError, match=r"^load_run: .*config\.yaml: Dense: a parameter of shape \(3, 2000000\)"):
        load_run(tmp_path)
