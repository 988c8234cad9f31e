"""`load_run` gives back what a run learned, and names what is missing."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend
from cuslayer.network.notation import Word
from cuslayer.training import Checkpoint, Config, load_checkpoint, load_config, load_run, load_stats, train
from cuslayer.training.config import OptimizerConfig
from tests.support.tiny import no_figures, silent, write_folder, write_pair
from tools.fake_cupy import strict


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    no_figures(monkeypatch)


@pytest.fixture
def config(tmp_path):
    data, out = str(write_folder(tmp_path / "data")), str(tmp_path / "out")
    srm = cs.SRM(theta=0.5, tau_sr=5.0, gradient="exact")
    layers = (Word("34x34x2"), Word("4a", neuron=cs.SRM(theta=2.0)), Word("6", delay=True, max_delay=3.0), Word("3"))
    options = {"layers": layers, "true": 6.0, "false": 1.0, "region": (0.0, 30.0), "data": data, "out": out}
    return Config(neuron=srm, duration=30.0, epochs=2, batch=4, **options)


def test_the_network_the_configuration_and_the_statistics(config, tmp_path):
    out = train(config, log=silent)
    for path in (out, str(out), out / "checkpoint.npz"):
        run = load_run(path)
        assert run.config == config
        assert run.stats.epochs == load_stats(out / "metrics.csv")
        assert run.stats.best in run.stats.epochs
        assert (run.epoch, run.folder) == (2, out)
        assert run.net.notation == "34x34x2-4a-6-3"
        saved = load_checkpoint(out / "checkpoint.npz").network
        assert all((saved[name] == array).all() for name, array in run.net.state().items())
    # The scores are those of the run: the network is the trained one, with its neurons.
    x, labels = next(iter(cs_loader(config)))
    with cs.no_grad():
        spikes = run.net(x)
    loss = run.config.loss()(spikes, labels).item() / len(labels)
    assert loss == pytest.approx(run.stats.epochs[-1].test_loss, rel=1e-6)


def cs_loader(config):
    from cuslayer.data import Loader, open_folder

    return Loader(open_folder(config.data)[1], 3, steps=config.steps)


def test_evaluation_mode_and_the_random_generator(config):
    out = train(config, log=silent)
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


def test_a_run_that_was_moved(config, tmp_path):
    out = train(config, log=silent)
    shutil.move(out, tmp_path / "elsewhere")
    run = load_run(tmp_path / "elsewhere")
    assert (run.epoch, run.folder) == (2, tmp_path / "elsewhere")


@pytest.mark.parametrize("neuron", [cs.Loihi(vth_mant=10), cs.SRM(theta=0.5)])
def test_spike_times_and_other_neurons(tmp_path, neuron):
    options = {"data": str(write_pair(tmp_path / "pair")), "out": str(tmp_path / "out"), "batch": 1, "epochs": 1}
    optimizer = OptimizerConfig("NAdam", momentum_decay=None)
    config = Config(
        neuron=neuron, error="SpikeTime", duration=30.0, layers=("5", "8", "5"), optimizer=optimizer, **options
    )
    run = load_run(train(config, log=silent))
    assert run.config == config
    assert run.net[1] == neuron
    assert run.stats.epochs[0].train_accuracy is None


def test_on_the_gpu(config):
    out = train(config, log=silent)
    x = next(iter(cs_loader(config)))[0][:8]
    expected = load_run(out).net(x).numpy()
    with strict():
        cs.use("cuda")
        net = load_run(out).net
        assert all(backend.namespace(p.data) is not np for p in net.parameters())
        found = net(x).numpy()
        cs.use("cpu")
    assert (found == expected).all()


def test_missing_pieces(config, tmp_path):
    with pytest.raises(ValueError, match=r"^load_run: nowhere/1 does not exist$"):
        load_run("nowhere/1")
    with pytest.raises(ValueError, match=r"^load_run: .* has no checkpoint\.npz$"):
        load_run(tmp_path)
    out = train(config, log=silent)
    for name in ("metrics.csv", "config.yaml", "checkpoint.npz"):
        (out / name).rename(tmp_path / name)
        with pytest.raises(ValueError, match=f"^load_run: .*out has no {name}$"):
            load_run(out)
        (tmp_path / name).rename(out / name)
    shutil.copy(out / "checkpoint.npz", tmp_path / "data" / "best.npz")
    with pytest.raises(ValueError, match=r"^load_run: .*data has no config\.yaml$"):
        load_run(tmp_path / "data" / "best.npz")


def test_a_configuration_of_a_larger_network(config, tmp_path):
    """Weights are not drawn that the checkpoint cannot have: a configuration of one line may ask for any number."""
    net = config.network()
    Checkpoint.of(0, net, cs.SGD(net.parameters())).save(tmp_path / "checkpoint.npz")
    (tmp_path / "config.yaml").write_text(replace(config, layers=(*config.layers, Word("2000000"))).to_yaml())
    with pytest.raises(ValueError, match=r"^load_run: .*config\.yaml: Dense: a parameter of shape \(3, 2000000\)"):
        load_run(tmp_path)


def test_pieces_that_do_not_fit(config, tmp_path):
    out = train(config, log=silent)
    whole = {p.name: p.read_bytes() for p in out.iterdir()}

    def refused(message):
        with pytest.raises((ValueError, TypeError), match=message) as caught:
            load_run(out)
        assert "\n" not in str(caught.value)
        for name, content in whole.items():
            (out / name).write_bytes(content)

    (out / "checkpoint.npz").write_bytes(whole["checkpoint.npz"][:-9])
    refused(r"^load_checkpoint: .*checkpoint\.npz is damaged or no checkpoint")
    (out / "config.yaml").write_bytes(whole["config.yaml"].replace(b"dim: '6'", b"dim: '7'"))
    refused(r"^load_run: .*config\.yaml was changed since the checkpoint: layer\[2\]\.dim is '7', was '6'; write it")
    (out / "config.yaml").write_text("theta: 1")
    refused(r"^load_config: .*config\.yaml: theta is an unknown key")
    (out / "metrics.csv").write_bytes(whole["metrics.csv"].splitlines(keepends=True)[0])
    refused(r"^load_run: .*metrics\.csv has 0 epochs, the checkpoint has 2$")
    (out / "metrics.csv").write_text("epoch\n")
    refused(r"^load_stats: .*metrics\.csv does not begin with epoch,train_loss,")
    # A run that was killed after the log of an epoch and before its checkpoint stands at the epoch of the checkpoint.
    (out / "metrics.csv").write_bytes(whole["metrics.csv"] + b"3,1,1,1,1,1\n")
    assert len(load_run(out).stats.epochs) == 2
    config = load_config(out / "config.yaml")
    assert config.out == str(out)
