"""What is installed: the lowest versions that are declared, the wheel and its types, no network, hostile files."""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from cuslayer._base.version import __version__

pytestmark = pytest.mark.all

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).parent / "files" / "user_script.py"
EXTRAS = ("hdf5", "nir", "aedat", "xarray")


def declared():
    """Return the requirements of pyproject.toml by the name of their group."""
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {"": project["dependencies"], **project["optional-dependencies"]}


def version(text):
    """Return the numbers of a version, without zeros at its end."""
    numbers = [int(part) for part in text.split(".")]
    while numbers[-1:] == [0]:
        numbers.pop()
    return numbers


def pins():
    """Return the versions of tests/lowest.txt by name."""
    lines = (ROOT / "tests" / "lowest.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_the_lowest_versions_are_those_declared():
    every = [re.match(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", each) for group in declared().values() for each in group]
    lowest = {found[1].lower(): found[2] for found in every if found}
    assert {name: version(pin) for name, pin in pins().items()} == {name: version(lowest[name]) for name in pins()}
    needed = [each for group in ("", *EXTRAS) for each in declared()[group]]
    assert {re.match(r"[\w-]+", each)[0] for each in needed} <= pins().keys()


def test_a_build_repeats_to_the_byte(builds):
    one, other = (
        {build[name].name: hashlib.sha256(build[name].read_bytes()).hexdigest() for name in ("wheel", "sources")}
        for build in builds
    )
    assert {name.split("-")[1].removesuffix(".tar.gz") for name in one} == {__version__}
    assert one == other


def test_the_wheel_has_the_package_and_nothing_else_and_runs(builds, tmp_path):
    site, empty = tmp_path / "site", tmp_path / "empty"
    with zipfile.ZipFile(builds[0]["wheel"]) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        sizes = {info.filename: info.file_size for info in archive.infolist()}
        archive.extractall(site)
    package = [path for path in (ROOT / "cuslayer").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    modules = {path.name for path in ROOT.glob("cuslayer*.py")}
    configs = {f"cuslayer/training/configs/{path.name}" for path in (ROOT / "examples" / "configs").iterdir()}
    assert names == {path.relative_to(ROOT).as_posix() for path in package} | modules | configs
    assert {path.suffix for path in package} >= {".py", ".cu", ".cuh", ".npz", ".js", ".css", ".html"}
    assert "cuslayer/py.typed" in names
    assert all(sizes[path.relative_to(ROOT).as_posix()] == path.stat().st_size for path in package)
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r}); import cuslayer, numpy; cuslayer.training.load_config('shd'); "
        "net = cuslayer.Network('4-3', cuslayer.SRM()); print(cuslayer.__file__, net(numpy.ones((9, 1, 4))).shape)"
    )
    empty.mkdir()
    found = subprocess.run([sys.executable, "-c", code], cwd=empty, capture_output=True, text=True, check=True)
    assert found.stdout.startswith(str(site))
    assert found.stdout.strip().endswith("(9, 1, 3)")


def test_the_sources_have_the_tests_and_no_caches(builds):
    with tarfile.open(builds[0]["sources"]) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "cuslayer/py.typed", "tests/support/__init__.py"} <= names
    assert not any(name.endswith(".pyc") for name in names)
    # Tests read all that lies beside the package, too: every file that was there but caches.
    source = builds[0]["folder"]
    given = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    assert {name for name in given - names if not name.endswith(".pyc")} == set()


OFFLINE = """
import sys
from pathlib import Path

NETWORK = ("socket.", "http.client.", "urllib.", "ftplib.", "smtplib.", "poplib.", "imaplib.", "telnetlib.", "nntplib.")
seen = []

def watch(event, arguments):
    if event.startswith(NETWORK) or event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn"):
        seen.append(event)

sys.addaudithook(watch)
import cuslayer as cs
from cuslayer.cli import main
from cuslayer.data import Events, write_events

# Matplotlib looks for fonts with another program, once for each user.
import matplotlib.font_manager
imported, seen[:] = seen[:], []
folder = Path(sys.argv[1])
for number in range(4):
    write_events(folder / f"{number}.bs2", Events([1.0, 5.0, 9.0], [1, 2, 3], [number, 2, 1], [0, 1, 1]))
(folder / "train.txt").write_text("0 0\\n1 1\\n")
(folder / "test.txt").write_text("2 0\\n3 1\\n")
(folder / "config.yaml").write_text('''
simulation: {Ts: 1, tSample: 10}
neuron: {type: SRMALPHA, theta: 1, tauSr: 2, tauRef: 1, scaleRef: 2, tauRho: 1, scaleRho: 1}
layer: [{dim: 6x6x2}, {dim: 2c3}, {dim: 2}]
training:
  error: {type: NumSpikes, tgtSpikeRegion: {start: 0, stop: 10}, tgtSpikeCount: {true: 5, false: 1}}
  epochs: 2
  batch: 1
''')
run = str(folder / "run")
codes = [
    main(["train", str(folder / "config.yaml"), "--data", str(folder), "--out", run, "--device", "cpu"]),
    main(["test", run]),
    main(["predict", run, str(folder / "0.bs2")]),
    main(["report", run]),
    main(["convert", str(folder / "0.bs2"), str(folder / "0.npy")]),
    # It names the system, which Python asks another program for.
    not seen and main(["info"]),
]
print("RESULT", codes, imported, [event for event in seen if event != "subprocess.Popen"])
"""


def test_no_socket_and_no_other_program(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUSLAYER_CACHE": str(tmp_path)}
    command = [sys.executable, "-W", "ignore", "-c", OFFLINE, str(tmp_path)]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert found.stdout.splitlines()[-1:] == ["RESULT [0, 0, 0, 0, 0, 0] [] []"], found.stdout + found.stderr


# A release: one version, and workflows that may read alone.


def test_one_version_in_one_place():
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
    files = [*(ROOT / "cuslayer").rglob("*.py"), ROOT / "pyproject.toml", ROOT / "cuslayer_main.py"]
    written = [path.name for path in files if f'"{__version__}"' in path.read_text(encoding="utf-8")]
    assert written == ["version.py"]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$", changes, re.MULTILINE)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert releases[0] == (__version__, citation["date-released"])
    assert str(citation["version"]) == __version__
    assert [date for _, date in releases] == sorted((date for _, date in releases), reverse=True)


def test_all_extras_are_in_all():
    extras = declared()
    found = [name for each in extras["all"] for name in re.search(r"^cuslayer\[([\w,]+)\]", each)[1].split(",")]
    # One of the two for GPUs must be chosen; the others are for whoever works on cuslayer.
    assert sorted(found) == sorted(extras.keys() - {"", "cuda12", "cuda13", "test", "docs", "all"})


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda path: path.name)
def test_workflows_may_only_read_and_name_versions_of_actions(path):
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert found["permissions"] == {"contents": "read"}
    assert "concurrency" in found
    for name, job in found["jobs"].items():
        assert job["timeout-minutes"] <= 90
        allowed = {"id-token": "write", "pages": "write", "actions": "read"}
        if (path.name, name) == ("release.yml", "tag"):
            # It makes a tag, is started by hand only, and runs no action of a third party.
            allowed = {"contents": "write"}
            assert found[True] == {"workflow_dispatch": None}
            assert all(step.get("uses", "actions/").startswith("actions/") for step in job["steps"])
        assert job.get("permissions", {}).items() <= allowed.items()
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+|[0-9a-f]{40})", step["uses"]), step["uses"]
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"] == {"persist-credentials": False}
            # What others write, such as the title of a pull request, never becomes part of a command.
            assert not re.search(r"\$\{\{\s*github\.(event|head_ref)", step.get("run", ""))


# A user's script passes `mypy --strict`, against the wheel in an environment of its own, and runs.


@pytest.fixture(scope="module")
def python(tmp_path_factory, builds):
    """The interpreter of an environment with the wheel, and with the libraries of this one."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    found = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    show = [str(found), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.run(show, check=True, capture_output=True, text=True).stdout.strip())
    with zipfile.ZipFile(builds[0]["wheel"]) as archive:
        archive.extractall(site)
    (site / "others.pth").write_text("".join(f"{path}\n" for path in sys.path if path.endswith("-packages")))
    return found


def strict(python, script, folder):
    # Without a configuration file, as in a user's folder.
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(python), "--config-file="]
    command += ["--cache-dir", str(folder / "cache"), str(script)]
    environment = {name: value for name, value in os.environ.items() if name not in ("MYPYPATH", "PYTHONPATH")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_the_script_passes(python, tmp_path):
    # Beside the tests, mypy would find the sources of the repository.
    script = shutil.copy(SCRIPT, tmp_path)
    found = strict(python, script, tmp_path)
    assert (found.stdout, found.stderr) == ("Success: no issues found in 1 source file\n", "")
    # Types are those of the package, not Any: mistakes are found.
    wrong = SCRIPT.read_text(encoding="utf-8").replace("theta=10.0, tau_sr=5.0)\n", 'theta="10", tau_sr=5.0)\n', 1)
    wrong = wrong.replace("score.loss:.3f", "score.los:.3f").replace("cs.calibrate(net, batches)", "cs.calibrat(net)")
    (tmp_path / "wrong.py").write_text(wrong, encoding="utf-8")
    said = strict(python, tmp_path / "wrong.py", tmp_path).stdout
    assert 'Argument "theta" to "SRM" has incompatible type "str"; expected "float"' in said
    assert 'has no attribute "los"' in said
    assert 'Module has no attribute "calibrat"' in said


def test_the_script_runs(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(SCRIPT), str(tmp_path)]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert (found.returncode, found.stderr) == (0, "")
    *epochs, margin, last = found.stdout.splitlines()
    assert [line.split(":")[0] for line in epochs] == ["epoch 1", "epoch 2", "epoch 3"]
    assert margin.startswith("margin ")
    assert int(last.removeprefix("accuracy ").removesuffix("%")) > 75
    assert (tmp_path / "why.png").stat().st_size > 1000


# Mutated files for every reader.


def test_mutants_are_read_or_refused_in_one_line(monkeypatch, tmp_path):
    from cuslayer.data.formats import FORMATS

    """Each is read, or refused by one line."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    before = set(sys.modules)
    fuzzer = importlib.import_module("fuzz")
    readers = fuzzer.readers()
    assert {f"events {suffix}" for suffix in FORMATS} <= readers.keys()
    assert {"import_hdf5", "import_nir", "load_config", "cs.load", "load_checkpoint", "read_wave"} <= readers.keys()
    for name, reader in readers.items():
        folder = tmp_path / name
        folder.mkdir()
        reader.prepare(folder)
        for content in reader.valid:
            found = fuzzer.judged(reader, fuzzer.write_case(reader, folder, content))
            assert found is None or (name in ("load_config", "Params") and found == ""), name
        first = len(reader.valid) + len(reader.hostile)
        for number in range(first, first + 50):
            path = fuzzer.write_case(reader, folder, reader.content(1, number))
            assert not fuzzer.judged(reader, path), f"{name} {number}"
    for name in set(sys.modules) - before:
        if str(ROOT / "benchmarks") in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
