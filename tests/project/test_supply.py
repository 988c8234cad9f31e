"""What is installed: the lowest versions that are declared, the wheel's contents, builds that repeat, no network."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest

from cuslayer.version import __version__

ROOT = Path(__file__).parents[2]
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


def test_ci_installs_the_lowest_versions():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert f"'.[{','.join(EXTRAS)}]'" in script
    assert "-c tests/lowest.txt" in script
    for name in re.findall(r"tests/[\w/.]+", script):
        assert (ROOT / name).exists(), name


@pytest.fixture(scope="module")
def builds(tmp_path_factory):
    """Build the distributions twice, in two folders, from copies whose files have other times and rights."""
    found = []
    for number, mask in enumerate((0o022, 0o077)):
        folder = tmp_path_factory.mktemp(f"build{number}")
        source = folder / "source"
        for part in ("cuslayer", "tests/support", "tools", "docs", "examples", ".ci", ".github"):
            shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
        for path in ROOT.iterdir():
            if path.is_file() and path.name != ".git":
                shutil.copy(path, source)
        for path in source.rglob("*"):
            os.utime(path, (1e9 + number, 1e9 + number))
            path.chmod(path.stat().st_mode & ~mask)
        (source / "cuslayer" / "__pycache__").mkdir()
        (source / "cuslayer" / "__pycache__" / f"{number}.pyc").touch()
        command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder / "dist")]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
        subprocess.run(command, cwd=source, env=environment, check=True, capture_output=True)
        found.append({"source": source} | {path.name: path for path in (folder / "dist").iterdir()})
    return found


def test_a_build_repeats_to_the_byte(builds):
    one, other = (
        {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in build.items() if path.is_file()}
        for build in builds
    )
    assert {name.split("-")[1].removesuffix(".tar.gz") for name in one} == {__version__}
    assert len(one) == 2
    assert one == other


def test_the_wheel_has_the_package_and_nothing_else(builds):
    (wheel,) = (path for name, path in builds[0].items() if name.endswith(".whl"))
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        sizes = {info.filename: info.file_size for info in archive.infolist()}
    package = [path for path in (ROOT / "cuslayer").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    modules = {path.name for path in ROOT.glob("cuslayer*.py")}
    configs = {f"cuslayer/training/configs/{path.name}" for path in (ROOT / "examples" / "configs").iterdir()}
    assert names == {path.relative_to(ROOT).as_posix() for path in package} | modules | configs
    assert {path.suffix for path in package} >= {".py", ".cu", ".cuh", ".npz", ".js", ".css", ".html"}
    assert "cuslayer/py.typed" in names
    assert all(sizes[path.relative_to(ROOT).as_posix()] == path.stat().st_size for path in package)


def test_the_sources_have_the_tests_and_no_caches(builds):
    (sources,) = (path for name, path in builds[0].items() if name.endswith(".tar.gz"))
    with tarfile.open(sources) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "cuslayer/py.typed", "tests/support/__init__.py"} <= names
    assert not any(name.endswith(".pyc") for name in names)
    # Tests read all that lies beside the package, too: every file that was there but caches.
    source = builds[0]["source"]
    given = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    assert {name for name in given - names if not name.endswith(".pyc")} == set()


def test_every_file_of_the_repository_is_in_the_sources():
    """What git knows is in one of the folders, or has one of the names, that the build includes."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no checkout")
    tomllib = pytest.importorskip("tomllib")
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]
    included = [pattern.removeprefix("/") for pattern in patterns["sdist"]["include"]]
    for name in listed.stdout.splitlines():
        top = name.split("/")[0]
        # The build adds these two itself.
        assert any(fnmatch(top, pattern) for pattern in included) or name in ("pyproject.toml", ".gitignore"), name


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
