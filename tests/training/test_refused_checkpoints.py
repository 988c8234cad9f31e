"""Checkpoints that are not what this library writes are refused by one line, and change nothing."""

from __future__ import annotations

import json
import tracemalloc
import zipfile

import numpy as np
import pytest
import yaml

import cuslayer as cs
from cuslayer._base import archive
from cuslayer.cli import main
from cuslayer.training import Checkpoint, load_checkpoint, load_run, train
from tests.support.deaths import results, tiny
from tests.support.refused import refuses
from tests.support.tiny import no_figures, silent
from tests.test_archive import npy
from tests.training.test_checkpoint import everything
from tests.training.test_run_stopped import stopped

pytestmark = pytest.mark.all

SRM = cs.SRM(tau_sr=4.0)


def contents(path):
    """Return the description and the arrays of an archive."""
    with archive.open_archive(path) as found:
        return found.about(), {name: found.read(name) for name in found.headers}


@pytest.fixture
def net():
    return cs.Sequential(cs.Dense(6, 4), SRM, lambda s: s, cs.SumPool(2, gain=1.5))


@pytest.fixture
def optimizer(net):
    return cs.Adam(net.parameters(), 0.01)


@pytest.fixture
def path(tmp_path, net, optimizer):
    Checkpoint.of(1, net, optimizer).save(tmp_path / "c.npz")
    return tmp_path / "c.npz"


@pytest.fixture
def refused(path, net, optimizer):
    """Write the checkpoint with other content, and check that one line refuses it and that nothing changes."""

    def refused(message, change=None, **arrays):
        about, found = contents(path)
        if change is not None:
            change(about)
        found |= arrays
        other = path.with_name("other.npz")
        np.savez(other, about=np.array(json.dumps(about)), **{n: a for n, a in found.items() if a is not None})
        before = everything(net, optimizer)
        for fits in ((net, optimizer), ()):
            with pytest.raises(ValueError) as error:
                load_checkpoint(other, *fits).restore(net, optimizer)
            text = str(error.value)
            heads = ("", f"load_checkpoint: {other} ", f"load_checkpoint: {other}: ", "restore: ", "load_state: ")
            assert any(text.startswith(head + message) for head in heads), text
            assert "\n" not in text
            assert everything(net, optimizer) == before

    return refused


@pytest.mark.parametrize("epoch", [-1, "2", 1.5, True, None, 2**31, [1]])
def test_epochs(refused, epoch):
    refused(f"epoch must be an integer from 0 to 2147483647, got {epoch!r}", lambda about: about.update(epoch=epoch))


def test_generators(refused):
    foreign = json.loads(json.dumps(np.random.PCG64DXSM(0).state))
    refused("generator must be the state of PCG64, got 'PCG64DXSM'", lambda about: about.update(generator=foreign))
    for wrong in (3, [], None):
        refused(f"generator must be the state of PCG64, got {wrong}", lambda about, w=wrong: about.update(generator=w))
    for key, value in (("state", 3), ("has_uint32", "x"), ("uinteger", 2**70), ("more", 1)):
        refused(
            "generator has a state that PCG64 cannot have",
            lambda about, k=key, v=value: about["generator"].update({k: v}),
        )


def test_fields(refused):
    refused("has format 'two', this version reads 1 to 4", lambda about: about.update(format="two"))
    refused("has format True, this version reads 1 to 4", lambda about: about.update(format=True))
    refused("'extra' is unknown in format 4", lambda about: about.update(extra=1))
    refused("is damaged or no checkpoint (KeyError)", lambda about: about.pop("place"))
    refused("the place must have of, trained, gradients, tested, got 3", lambda about: about.update(place=3))
    refused("the run must have config, statistics, digests, recordings, got {}", lambda about: about.update(run={}))


def test_names_shapes_and_types(refused, net, optimizer):
    weight = net[0].weight.data
    refused("parameter 0.weight is missing", **{"network/0.weight": None})
    refused(
        "parameter 0.weight has shape (4, 6), the network's has shape (6, 4)", **{"network/0.weight": weight.T.copy()}
    )
    refused(
        "parameter 0.weight has type float64, the network's has float32", **{"network/0.weight": weight.astype(float)}
    )
    refused("parameter 7.weight is unknown", **{"network/7.weight": weight})
    refused("3.gain has shape (2,), it must be a number", **{"network/3.gain": np.ones(2)})
    for wrong, has in (
        (np.ones(3, "f4"), "shape (3,), the parameter's has shape (6, 4)"),
        (np.ones((6, 4), int), "type int64, the network's has float32"),
    ):
        refused(f"optimizer's 0.mean has {has}", **{"optimizer/0.mean": wrong})
    refused("optimizer's steps has type <U1, which is no number", **{"optimizer/steps": np.array("a")})
    refused("array other/0 is unknown", **{"other/0": np.zeros(2)})


def test_numbers(refused, net):
    for wrong in (np.nan, np.inf, -np.inf):
        weight = net[0].weight.data.copy()
        weight[3, 2] = wrong
        refused("parameter 0.weight has NaN or an infinity", **{"network/0.weight": weight})
        refused("optimizer's 0.square has NaN or an infinity", **{"optimizer/0.square": weight})
    refused("load_state: optimizer's steps must be at least 0, got -1", **{"optimizer/steps": np.array(-1)})
    refused("load_state: optimizer's lr must not be negative, got -1", **{"optimizer/lr": np.array(-1.0)})
    refused("load_state: optimizer's 0.size must be positive, got 0", **{"optimizer/0.size": np.array(0.0)})


def test_a_network_that_is_not_finite_is_not_saved(path, net, optimizer):
    before = path.read_bytes()
    net[0].weight.data[0, 0] = np.nan
    with pytest.raises(
        ValueError, match=r"^Checkpoint: parameter 0\.weight has NaN or an infinity, .*c.npz is not written"
    ):
        Checkpoint.of(2, net, optimizer).save(path)
    assert path.read_bytes() == before


def test_restore_changes_all_or_nothing(path, net, optimizer, monkeypatch):
    checkpoint = load_checkpoint(path)
    for p in net.parameters():
        p.data = p.data * 2
    net[3].gain = 7.0
    before = everything(net, optimizer)

    def full(given):
        raise MemoryError

    from cuslayer.optim import optimizers

    monkeypatch.setattr(optimizers, "to_device", full)
    load = optimizer.load_state
    # The state before the attempt is loaded again without an error.
    monkeypatch.setattr(optimizer, "load_state", lambda given: load(given) if given is checkpoint.optimizer else None)
    with pytest.raises(MemoryError):
        checkpoint.restore(net, optimizer)
    assert everything(net, optimizer) == before


def test_what_unfolds_is_refused_without_memory(path, net, optimizer):
    """200 MB of zeros in a file of 0.2 MB."""
    size = 200 << 20
    shape = (size // 4,)

    def zeros(file):
        file.write(npy(shape))
        for _ in range(size >> 20):
            file.write(bytes(1 << 20))

    whole = path.read_bytes()
    for name, content, message in (
        ("network/0.weight.npy", zeros, f"parameter 0.weight has shape ({shape[0]},), the network's has shape (6, 4)"),
        ("other.npy", zeros, "array other is unknown"),
    ):
        path.write_bytes(whole)
        replace_member(path, name, content)
        tracemalloc.start()
        with pytest.raises(ValueError, match=r"^load_checkpoint: ") as error:
            load_checkpoint(path, net, optimizer)
        with pytest.raises(ValueError, match=r"^load_checkpoint: "):
            load_checkpoint(path)
        with pytest.raises(ValueError, match=r"^load: "):
            cs.load(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert message in str(error.value)
        assert peak < 4 << 20


def replace_member(path, name, content):
    with zipfile.ZipFile(path) as old:
        files = {n: old.read(n) for n in old.namelist() if n != name}
    with zipfile.ZipFile(path, "w") as new:
        for n, each in files.items():
            new.writestr(n, each)
        info = zipfile.ZipInfo(name)
        info.compress_type = zipfile.ZIP_DEFLATED
        with new.open(info, "w", force_zip64=True) as file:
            content(file)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of two epochs."""
    no_figures(monkeypatch)
    return train(tiny(tmp_path, out=str(tmp_path / "run")), log=silent)


def resumed(run, capsys, *options):
    code = main(["train", "--resume", "--out", str(run), *options])
    said = capsys.readouterr()
    assert said.err.count("\n") == (code != 0)
    return code, said.out, said.err


def test_a_configuration_that_was_edited_is_named(run, capsys):
    file = run / "config.yaml"
    text = file.read_text()
    before = results(run)
    for old, new, said in (
        ("lr: 0.05", "lr: 0.5", "training.optimizer.lr is 0.5, was 0.05"),
        ("dim: '4'", "dim: '5'", "layer[1].dim is '5', was '4'"),
        ("epochs: 2", "epochs: 9", "training.epochs is 9, was 2"),
    ):
        assert old in text
        file.write_text(text.replace(old, new))
        message = f"train: {file} was changed since the checkpoint: {said}; write it back, or change it by options"
        code, _, err = resumed(run, capsys, "--epochs", "3")
        assert (code, message in err) == (2, True)
        with pytest.raises(ValueError, match=r"^load_run: .* was changed since the checkpoint: "):
            load_run(run)
    # Comments, the places of files and how often checkpoints are written change nothing.
    file.write_text("# mine\n" + text.replace("minutes: 5.0", "minutes: 7.0"))
    assert load_run(run).epoch == 2
    assert results(run) == before
    assert resumed(run, capsys)[0] == 0


def test_options_that_change_on_purpose_are_said(run, capsys):
    file = run / "config.yaml"
    before = file.read_text()
    code, out, _ = resumed(run, capsys, "--epochs", "3", "--lr", "0.01")
    assert code == 0
    # The file of before is not the run's any more.
    text = file.read_text()
    file.write_text(before)
    with pytest.raises(ValueError, match=r"^load_run: .* was changed since the checkpoint: "):
        load_run(run)
    file.write_text(text)
    assert "\nwarning: training.optimizer.lr is 0.01, was 0.05\nwarning: training.epochs is 3, was 2\n" in out
    # What has changed is the configuration of the run now; the best checkpoint of before is still one of it.
    assert "warning" not in resumed(run, capsys, "--epochs", "3")[1]
    assert load_run(run).config.epochs == 3
    assert load_run(run, best=True).epoch <= 3


def test_what_cannot_change(run, tmp_path, capsys):
    config = tmp_path / "other.yaml"
    for name, old, new in (
        ("neuron.theta", 1.0, 2.0),
        ("training.optimizer.type", "SGD", "Adam"),
        ("simulation.Ts", 1.0, 0.5),
        ("training.seed", 0, 8),
        ("training.initialization", "slayer", "calibrated"),
    ):
        key, text = name.rpartition(".")[2], (run / "config.yaml").read_text()
        config.write_text(text.replace(f" {key}: {old}\n", f" {key}: {new}\n", 1))
        code, _, err = resumed(run, capsys, str(config), "--epochs", "3")
        said = f"cuslayer: train: {name} of a resumed run cannot change, {run} has {old!r}, got {new!r}\n"
        assert (code, err) == (2, said)


def test_what_cannot_change_within_an_epoch(tmp_path, monkeypatch, capsys):
    no_figures(monkeypatch)
    run = tmp_path / "run"
    assert stopped(tiny(tmp_path, out=str(run)), 4).batches == 1
    said = f"cuslayer: train: {run} stands in the middle of epoch 2; to go on, give --epochs N, N above 1\n"
    assert resumed(run, capsys, "--epochs", "1")[::2] == (2, said)
    for option, said in (("--batch", "training.batch"), ("--seed", "training.seed")):
        code, _, err = resumed(run, capsys, option, "1")
        assert code == 2
        assert err.startswith(f"cuslayer: train: {said} cannot change in the middle of an epoch, {run} has ")
    (tmp_path / "data" / "train.txt").write_text("0 0\n")
    code, _, err = resumed(run, capsys)
    message = f"train: the checkpoint of {run} is within an epoch of 2 batches, the recordings make 1"
    assert (code, err) == (2, f"cuslayer: {message}\n")


def test_a_table_of_statistics_without_all_epochs(run, capsys):
    file = run / "metrics.csv"
    header, first, second = file.read_text().splitlines(keepends=True)
    file.write_text(header + first)
    assert resumed(run, capsys)[2] == f"cuslayer: train: {file} has 1 epochs, the checkpoint has 2\n"
    file.write_text(header + first + second[:4])
    assert resumed(run, capsys)[2] == f"cuslayer: load_stats: {file} line 3 is no row of 9 numbers\n"
    file.unlink()
    assert resumed(run, capsys)[2] == f"cuslayer: train: {file} is missing, the checkpoint has 2 epochs\n"
    # The rows of the checkpoint count.
    file.write_text(header + "1,9,,9,,9,,,9\n" + second + "3,1,1,1,1,1,1,1,1\n")
    assert resumed(run, capsys, "--epochs", "3")[0] == 0
    assert file.read_text().splitlines(keepends=True)[1:3] == [first, second]
    assert len(load_run(run).stats.epochs) == 3


def rewrite_run(run, change):
    about, arrays = contents(run / "checkpoint.npz")
    change(about)
    archive.write_archive(run / "checkpoint.npz", about, arrays)


def test_a_run_of_an_earlier_version_has_slayers_keys(run, capsys):
    """They are those of the same configuration, in its record and in its file."""

    def earlier(document):
        counts = {"true": 4.0, "false": 1.0}
        region = {"start": 0.0, "stop": 8.0}
        document["training"]["error"] = {"type": "NumSpikes", "tgtSpikeRegion": region, "tgtSpikeCount": counts}

    file = run / "config.yaml"
    document = yaml.safe_load(file.read_text())
    earlier(document)
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    assert load_run(run).epoch == 2  # the text has no digest: its values are compared
    rewrite_run(run, lambda about: earlier(about["run"]["config"]))
    assert load_run(run).config.error == tiny(run.parent).error
    code, out, _ = resumed(run, capsys)
    assert (code, "warning: training.error" in out) == (0, False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda run: run["statistics"].pop(), "epoch must be the number of rows of statistics, 1, got 2"),
        (lambda run: run.update(statistics=3), "epoch must be the number of rows of statistics, 0, got 2"),
        (lambda run: run["statistics"][0].append(1), "the statistics of epoch 1 must be 12 numbers, got [1, "),
        (lambda run: run.update(digests=3), "the digests must be a list of texts, got 3"),
        (lambda run: run.update(config=[]), "the configuration must be a mapping, got []"),
        (
            lambda run: run["config"]["training"].update(batch=-1),
            "its configuration is wrong: training.batch must be at least 1, got -1",
        ),
        (
            lambda run: run["config"]["neuron"].update(thta=1),
            "its configuration is wrong: neuron.thta is an unknown key; did you mean theta?",
        ),
        (lambda run: run.update(recordings=3), "the recordings must have training, test, got 3"),
        (lambda run: run["recordings"].update(valid=""), "the recordings must have training, test, got {'training'"),
    ],
)
def test_records(run, capsys, change, said):
    rewrite_run(run, lambda about: change(about["run"]))
    code, _, err = resumed(run, capsys)
    assert code == 2
    assert f"load_checkpoint: {run / 'checkpoint.npz'}: {said}" in err


def test_places(tmp_path, monkeypatch, capsys):
    no_figures(monkeypatch)
    run = tmp_path / "run"
    assert stopped(tiny(tmp_path, out=str(run)), 1).batches == 1
    whole = (run / "checkpoint.npz").read_bytes()
    for change, said in (
        (lambda place: place.update(of=0), "batches must be from 1 to 0, got 1"),
        (lambda place: place.update(of=True), "batches must be from 1 to True, got 1"),
        (lambda place: place["trained"].update(batches=3), "batches must be from 1 to 2, got 3"),
        (lambda place: place.update(tested=place["trained"]), "batches must be 2 where validation has begun, got 1"),
        (lambda place: place.update(gradients={}), "the gradient flow must have steps, squares, got {}"),
    ):
        rewrite_run(run, lambda about, c=change: c(about["place"]))
        assert f": {said}\n" in resumed(run, capsys)[2]
        (run / "checkpoint.npz").write_bytes(whole)
    assert resumed(run, capsys)[0] == 0


# The rows of earlier versions have the test of each epoch, and no validation.
EARLIER = [[1, 2.0, 0.5, 1.0, 1.0, 1.0], [2, 2.0, 0.5, 1.0, 0.5, 1.0]]


def first_format(about):
    about.update(format=1)
    del about["place"], about["run"]


def second_format(about):
    """Digests of both files in one, and nothing of the recordings."""
    given = about["run"]
    given["sha256"] = {"config.yaml": given.pop("digests"), "metrics.csv": "0"}
    del given["recordings"]
    given["statistics"] = EARLIER
    about.update(format=2)


def third_format(about):
    about["run"]["statistics"] = EARLIER
    about.update(format=3)


@pytest.mark.parametrize("change", [first_format, second_format, third_format])
def test_checkpoints_of_earlier_versions(run, capsys, change):
    """They go on, also where metrics.csv has the row of an epoch that the checkpoint has not."""
    rewrite_run(run, change)
    (run / "best.npz").unlink()
    header = "epoch,train_loss,train_accuracy,test_loss,test_accuracy,seconds\n"
    rows = [*EARLIER, [3, 1, 1, 1, 1, 1]]
    (run / "metrics.csv").write_text(header + "".join(f"{','.join(map(str, row))}\n" for row in rows))
    before = load_run(run).stats.epochs
    assert len(before) == 2
    assert main(["test", str(run)]) == main(["predict", str(run), "--test", "0"]) == main(["report", str(run)]) == 0
    (run / "report.html").unlink()
    capsys.readouterr()
    code, out, _ = resumed(run, capsys, "--epochs", "3")
    assert code == 0
    assert "warning: training.epochs is 3, was 2" in out
    assert "the test set was read with the weights of epoch 2; it is read again" in out
    assert "epoch   3 | train" in out
    assert out.splitlines()[-1].startswith("epoch   3 | test loss ")
    rows = load_run(run).stats.epochs
    assert rows[:2] == before
    assert rows[2].seconds != 1
    assert load_checkpoint(run / "checkpoint.npz").record.recordings is not None


def test_the_best_epoch(run, capsys):
    best = load_run(run, best=True)
    assert best.epoch == load_run(run).stats.best.epoch
    assert best.stats.epochs == load_run(run).stats.epochs[: best.epoch]
    saved = load_checkpoint(run / "best.npz").network
    assert all((saved[name] == a).all() for name, a in best.net.state().items())
    assert main(["test", str(run), "--best"]) == 0
    assert capsys.readouterr().out.startswith(f"{run} at epoch {best.epoch}: ")
    with refuses("load_run: path must be a folder for the best epoch"):
        load_run(run / "best.npz", best=True)
    (run / "best.npz").unlink()
    with pytest.raises(ValueError, match=r"^load_run: .* has no best\.npz$"):
        load_run(run, best=True)
