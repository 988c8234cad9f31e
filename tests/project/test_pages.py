"""README and the pages of docs/: their code runs, their commands, names, links and files exist."""

from __future__ import annotations

import contextlib
import io
import linecache
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml

import cuslayer as cs
from cuslayer import data, plasticity, plot, surrogates, training
from cuslayer.cli import COMMANDS, main, make_parser
from cuslayer.data import Digits

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TOP = ("README.md", "CONTRIBUTING.md")
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in sorted(DOCS.rglob("*.md"))}
PAGES |= {name: (ROOT / name).read_text("utf-8") for name in TOP}
PROGRAMS = {"python", "python3", "pip", "pytest", "mkdocs", "git", ".ci/run", "."}


def blocks(name, *languages):
    found = re.findall(rf"```(?:{'|'.join(languages)})\n(.*?)```", PAGES[name], re.DOTALL)
    return [re.sub(r"(?m)^ {3}(?=\S)", "", code) if name == "README.md" else code for code in found]


def run(name, space, first=0):
    """Run the code of a page from a block on in a namespace, and return what it prints."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        for number, block in enumerate(blocks(name, "python")[first:]):
            file = f"block {number} of {name}"
            linecache.cache[file] = len(block), None, block.splitlines(keepends=True), file  # as a notebook does
            exec(compile(block, file, "exec"), space)
    return said.getvalue()


def test_every_page_with_code_is_run():
    tests = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    for name in PAGES:
        assert not blocks(name, "python") or f'"{name}"' in tests or name == "docs/write-your-own.md", name


@pytest.mark.all
def test_the_start(here):
    space = {}
    assert blocks("docs/index.md", "python")[0] == blocks("README.md", "python")[0]
    assert "(50, 20, 3)" in run("docs/index.md", space)
    assert space["why"].fired
    assert (cs.classify(space["small"](space["spikes"])) == space["labels"]).mean() > 0.6


@pytest.mark.all
def test_tasks_in_time():
    said = run("docs/recurrent.md", {})
    assert int(re.search(r"(\d+)% are right", said)[1]) >= 90
    assert run("docs/delays.md", {}).endswith("[1 0]\n")


@pytest.mark.all
def test_three_ways(here):
    by_trainer, by_loop = map(float, run("docs/which-way.md", {}).split())
    assert by_trainer == by_loop > 0.8


@pytest.mark.all
def test_learning_rules():
    space = {}
    said = run("docs/learning-rules.md", space).splitlines()
    assert said == re.findall(r"print\(.*\)  # (.*)", "".join(blocks("docs/learning-rules.md", "python")))
    assert space["score"].loss > 0


@pytest.mark.all
def test_training(here, capsys):
    space = {"__name__": "page"}  # a file names the class of the network
    run("docs/training.md", space)
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith(
        "Trainer: weights without a weight_scale of their own are scaled so that neurons fire at 30 Hz; calibrate=None"
    )
    assert [len(log) for log in (space["stats"].epochs, space["trainer"].stats.epochs)] == [6, 2]
    assert space["stats"].best.validation_accuracy > 0.8


@pytest.mark.all
def test_tokens(here):
    space = {"__name__": "page"}  # a file names the class of the page
    *_, last, _, difference = run("docs/tokens.md", space).splitlines()
    assert float(last.split()[1]) > 0.7
    assert float(difference) < 1e-4


def test_gpus():
    assert run("docs/gpu.md", {}) == f"{cs.device()}\n"


def test_processes():
    """There is one process here, which divides nothing."""
    neuron = cs.SRM()
    net, loss = cs.Network("6-3", neuron), cs.SpikeCountLoss(neuron, true=5, false=1)
    batches = [(np.ones((20, 8, 6), bool), np.arange(8) % 3)]
    space = {"net": net, "loss": loss, "optimizer": cs.Adam(net.parameters()), "batches": batches}
    run("docs/scale.md", space)
    assert space["score"].loss > 0


def test_spoken_digits(here):
    run("docs/spoken-digits.md", {})
    assert list(map(len, data.read_sounds("recordings.npz").waves)) == [3000, 4000]


def test_data():
    """It prints what its comments say."""
    space = {}
    said = run("docs/data.md", space).splitlines()
    assert said == re.findall(r"print\(.*\)  # (.*)", "".join(blocks("docs/data.md", "python")))
    assert space["value"].item() > 0


def test_exchange():
    pytest.importorskip("nir")
    run("docs/exchange.md", {})


@pytest.mark.all
def test_conversion(here):
    space = {}
    said = run("docs/conversion.md", space)
    accuracy = space["conversion"].accuracy
    assert accuracy.spiking[-1] > accuracy.numbers - 0.03 > 0.9
    assert space["after"] > space["before"]
    assert "(0, " in said


def test_deploy():
    said = run("docs/deploy.md", {})
    assert "int net_selftest(void);" in said
    assert "spikes moved" in said


def test_migrating():
    space = {}
    run("docs/migrating.md", space)
    assert len(space["stats"].epochs) == 2
    assert space["flow"].epochs[0].keys() == {"0 Dense", "2 Dense"}


def test_coming_from_pytorch(here):
    """Its code runs, and so does each line in the last column of its table."""
    space, name = {}, "docs/coming-from-pytorch.md"
    exec(blocks(name, "python")[0], space)
    for cell in re.findall(r"\| ([^|]*) \|\n", PAGES[name]):
        for line in re.findall(r"`(?!cuslayer|mpiexec)([^`]+)`", cell):
            exec(line, space)
    run(name, space, first=1)
    assert space["stats"].best.validation_accuracy > 0.9
    assert space["deep_scores"][-1].accuracy > 0.9  # the lines of a residual network learn


@pytest.mark.all
def test_after_training(here, capsys):
    block, _ = blocks("docs/after-training.md", "bash")  # the second one trains for longer
    lines = [shlex.split(line, comments=True) for line in block.splitlines()]
    for program, *arguments in lines:
        assert program == "cuslayer"
        assert main(arguments) == 0
        assert capsys.readouterr().err == ""
    # docs/scale.md has sweep, docs/command-line.md completion, docs/conversion.md convert-ann.
    assert {arguments[1] for arguments in lines} >= COMMANDS.keys() - {"info", "sweep", "completion", "convert-ann"}
    assert cs.read_events("one.aedat") == Digits("test")[0][0]
    space = {"__name__": "page"}
    run("docs/after-training.md", space)
    assert type(space["own"][1]) is space["Gain"]
    np.testing.assert_array_equal(space["net"][0].weight.data, cs.load_run("runs/1").net[0].weight.data)


@pytest.mark.all
def test_readme(here, capsys):
    space = {}
    assert float(re.search(r"accuracy=([\d.]+)", run("README.md", space))[1]) >= 0.85
    assert space["net"](np.zeros((5, 1, 34, 34, 2), bool)).shape == (5, 1, 10)
    assert "Draw a digit" in Path("page.html").read_text("utf-8")
    install, said = re.search(r"```bash\n(.*?)\n```\n\n```text\n(.*?)```", PAGES["README.md"], re.DOTALL).groups()
    *_, program, command = shlex.split(install)
    assert (program, command) == (".venv/bin/cuslayer", "train")
    # The command trains eight epochs, here one.
    assert main(["train", "--out", "runs/2", "--epochs", "1", "--device", "cpu"]) == 0
    assert capsys.readouterr().out.split()[:3] == said.split()[:3]


@pytest.mark.all
def test_recipes(here, script):
    """Each recipe of docs/recipes.md runs after the first block of the page alone, and draws its picture."""
    recipes = script("recipes")
    spaces = {name: recipes.run(name, code) for name, code in recipes.recipes().items()}
    assert len(spaces) == PAGES["docs/recipes.md"].count("\n### ") == 20
    assert {path.stem for path in recipes.IMAGES.iterdir()} == spaces.keys()
    assert all(space["ax"].has_data() for space in spaces.values())
    assert spaces["recall"]["score"].accuracy > 0.9
    assert spaces["first-spike"]["score"].accuracy > 0.9
    assert spaces["residual"]["trainer"].stats.best.train_accuracy > 0.8
    assert (spaces["pruning"]["net"][0].weight.data == 0).mean() > 0.85
    assert 0 < len(spaces["misclassified"]["wrong"]) < 72
    inhibited = spaces["lateral-inhibition"]
    alone, competing = (of(inhibited["x"]).numpy() for of in (inhibited["neuron"], inhibited["competing"]))
    assert 0 < competing.sum() < alone.sum() / 2
    assert set(competing[:, 0].sum(axis=0).argsort()[-2:]) == {3, 8}
    first, second, third = (spaces["snntorch"][call].numpy() for call in ("first", "second", "third"))
    assert (first == third).all()
    assert (first != second).any()


@pytest.mark.parametrize("name", PAGES)
def test_commands_exist(name):
    for command in re.split(r"&&|\n", "".join(blocks(name, "bash", "sh"))):
        words = shlex.split(command, comments=True)
        words = words[3:] if words[:1] == ["mpiexec"] else words
        words = words[1:] if words and re.match(r"[A-Z_]+=", words[0]) else words
        if not words:
            continue
        if Path(words[0]).name == "cuslayer":
            if words[1:] != ["--version"]:
                make_parser().parse_args(words[1:])
            continue
        assert words[0] in PROGRAMS or words[0].startswith(".venv/"), command
        for word in words:
            assert not re.fullmatch(r"(benchmarks|examples)/\w+\.py", word) or (ROOT / word).exists(), word


@pytest.mark.parametrize("name", PAGES)
def test_names_and_files_exist(name):
    text = PAGES[name]
    folder = (ROOT / name).parent
    for found in re.findall(r"\bcs\.([A-Za-z_]\w*)", text):
        assert hasattr(cs, found) or found == "nn", found
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        assert (folder / target).exists() or Path(target).name in MADE, target
    # Files to write, files of other libraries, and modules of docs/design.md by their names within the package.
    files = re.findall(r"`([\w./]+/|[\w./]+\.(?:py|md|cu|cuh|toml|yaml|ipynb))`", text)
    files = [file for file in files if not re.search(r"yours|TOPIC|^runs/", file)]
    if name == "docs/comparison.md":
        files = [file for file in files if file.startswith(("benchmarks/", "tests/"))]
    places = [ROOT, ROOT / "cuslayer"] if name == "docs/design.md" else [ROOT]
    assert [file for file in files if not any((place / file).exists() for place in places)] == []


# The site.

# Pages that mkdocs makes of other files.
MADE = {"contributing.md", "changelog.md", *(f"{p.stem}.md" for p in ROOT.glob("examples/notebooks/*.ipynb"))}


def test_every_page_has_a_place_in_the_site():
    config = yaml.load((ROOT / "mkdocs.yml").read_text("utf-8"), yaml.SafeLoader)
    places = re.findall(r"'([\w/-]+\.md)'", repr(config["nav"]))
    assert len(places) == len(set(places))
    own = {name.removeprefix("docs/") for name in PAGES if name not in TOP}
    assert {place for place in places if Path(place).name not in MADE} == own
    assert config["strict"]


def test_every_public_name_is_in_the_reference():
    named = re.findall(r"(?m)^::: cuslayer\.([\w.]+)$", "".join(PAGES.values()))
    assert len(named) == len(set(named))
    wanted = set(cs.__all__) - {"plot", "plasticity", "surrogates", "distributed"}
    for module, prefix in (
        (data, "data"),
        (plasticity, "plasticity"),
        (training, "training"),
        (plot, "plot"),
        (surrogates, "surrogates"),
    ):
        wanted |= {f"{prefix}.{name}" for name in module.__all__ if name not in wanted}
    assert wanted - set(named) == set()
    for name in named:
        thing = cs
        for part in name.split("."):
            thing = getattr(thing, part)
