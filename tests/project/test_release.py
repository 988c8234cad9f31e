"""What a release is made of: one version, versions of Python that all name alike, and the files around the package."""

from __future__ import annotations

import datetime
import re
import subprocess
from pathlib import Path

import pytest
import yaml

import cuslayer as cs

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]


def read(*path):
    return ROOT.joinpath(*path).read_text(encoding="utf-8")


def project():
    tomllib = pytest.importorskip("tomllib")
    return tomllib.loads(read("pyproject.toml"))


def releases():
    """Return the versions and dates of CHANGELOG.md."""
    return re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$", read("CHANGELOG.md"), re.MULTILINE)


def test_one_version_in_one_place():
    assert re.fullmatch(r"\d+\.\d+\.\d+", cs.__version__)
    assert "version" not in project()["project"]
    assert project()["project"]["dynamic"] == ["version"]
    assert project()["tool"]["hatch"]["version"]["path"] == "cuslayer/version.py"
    written = [
        path.relative_to(ROOT).as_posix()
        for path in [*(ROOT / "cuslayer").rglob("*.py"), ROOT / "pyproject.toml", ROOT / "cuslayer_main.py"]
        if f'"{cs.__version__}"' in path.read_text(encoding="utf-8")
    ]
    assert written == ["cuslayer/version.py"]


def test_the_changelog_has_the_version():
    assert releases()[0][0] == cs.__version__
    dates = [datetime.date.fromisoformat(date) for _, date in releases()]
    assert dates == sorted(dates, reverse=True)
    newest = read("CHANGELOG.md").split(f"## [{cs.__version__}]")[1].split("\n## ")[0]
    assert re.findall(r"^### (.*)$", newest, re.MULTILINE) == ["Added", "Changed", "Fixed"]


def test_the_citation():
    found = yaml.safe_load(read("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= found.keys()
    assert found["cff-version"] == "1.2.0"
    assert (str(found["version"]), found["date-released"]) == releases()[0]
    given = project()["project"]
    assert found["license"] == given["license"]
    assert found["repository-code"] == given["urls"]["Repository"]
    assert [author["name"] for author in found["authors"]] == [author["name"] for author in given["authors"]]


def test_the_metadata():
    given = project()["project"]
    assert {"Repository", "Documentation", "Changelog", "Issues"} <= given["urls"].keys()
    assert all(url.startswith(given["urls"]["Repository"]) for url in given["urls"].values())
    assert given["requires-python"] == f">={PYTHONS[0]}"
    prefix = "Programming Language :: Python :: 3."
    assert [f"3.{each.removeprefix(prefix)}" for each in given["classifiers"] if each.startswith(prefix)] == PYTHONS
    assert given["classifiers"] == sorted(given["classifiers"])


def test_all_extras_are_in_all():
    extras = project()["project"]["optional-dependencies"]
    found = [name for each in extras["all"] for name in re.search(r"^cuslayer\[([\w,]+)\]", each)[1].split(",")]
    # One of the two for GPUs must be chosen; the others are for whoever works on cuslayer.
    assert sorted(found) == sorted(extras.keys() - {"cuda12", "cuda13", "test", "docs", "all"})


def jobs(name):
    return yaml.safe_load(read(".github", "workflows", name))["jobs"]


def test_the_workflow_tests_the_versions_of_python_on_three_systems():
    matrix = jobs("ci.yml")["tests"]["strategy"]["matrix"]
    assert matrix["python"] == PYTHONS
    assert {system.split("-")[0] for system in matrix["system"]} == {"ubuntu", "macos", "windows"}
    assert jobs("ci.yml")["extras"]["strategy"]["matrix"]["python"] == PYTHONS
    assert jobs("ci.yml").keys() == {"lint", "tests", "lowest", "extras", "site", "wheel"}


def steps(job):
    return [step.get("run", "") for step in job["steps"]]


def test_the_workflow_runs_what_the_local_script_runs():
    local = read(".ci", "run")
    for line in ("ruff check .", "ruff format --check .", "mypy"):
        assert line in steps(jobs("ci.yml")["lint"])
        assert re.search(rf"^\.venv/bin/{re.escape(line)}( >.*)?$", local, re.MULTILINE)
    assert "pytest --all" in steps(jobs("ci.yml")["tests"])
    assert ".venv/bin/pytest --rest\n" in local  # after README's command: all tests, each once
    *_, lowest = steps(jobs("ci.yml")["lowest"])
    first = re.search(r'"\$lowest" -m pytest(.*?)\n    #', local, re.DOTALL)[1]
    assert re.findall(r"tests/[\w/.]+", lowest) == re.findall(r"tests/[\w/.]+", first)
    assert "mkdocs build --strict" in steps(jobs("ci.yml")["site"])
    assert "build --strict" in local


def test_the_faults_are_planted_weekly_all_of_them():
    job = jobs("weekly.yml")["faults"]
    parts = job["strategy"]["matrix"]["part"]
    assert parts == list(range(1, len(parts) + 1))
    assert steps(job)[-1] == f"python -m tools.mutation --part ${{{{ matrix.part }}}}/{len(parts)}"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_may_read_alone_and_name_versions_of_actions(path):
    text = path.read_text(encoding="utf-8")
    found = yaml.safe_load(text)
    assert found["permissions"] == {"contents": "read"}
    assert "concurrency" in found
    for job in found["jobs"].values():
        assert job["timeout-minutes"] <= 90
        assert job.get("permissions", {}).items() <= {"id-token": "write"}.items()
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+|[0-9a-f]{40})", step["uses"]), step["uses"]
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"] == {"persist-credentials": False}
    # What others write, such as the title of a pull request, never becomes part of a command.
    assert not re.search(r"\$\{\{\s*github\.(event|head_ref)", "".join(steps_of(found)))


def steps_of(found):
    return [line for job in found["jobs"].values() for line in steps(job)]


def test_a_release_is_built_by_a_tag_and_has_no_password():
    found = yaml.safe_load(read(".github", "workflows", "release.yml"))
    # YAML 1.1 reads the key `on` as true.
    assert found[True] == {"push": {"tags": ["v*"]}}
    assert found["jobs"]["publish"]["needs"] == "build"
    assert "secrets." not in read(".github", "workflows", "release.yml")
    (line,) = (run for run in steps(found["jobs"]["build"]) if run.startswith("version="))
    ref = {"GITHUB_REF_NAME": f"v{cs.__version__}", "PATH": "/usr/bin:/bin"}
    for names, code in ((ref, 0), ({**ref, "GITHUB_REF_NAME": "v9.9.9"}, 1)):
        assert subprocess.run(["bash", "-euc", line], cwd=ROOT, env=names).returncode == code


def test_the_files_of_the_repository_are_valid():
    for path in [*(ROOT / ".github").rglob("*.yml"), ROOT / ".pre-commit-config.yaml"]:
        assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict), path
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        if path.name == "config.yml":
            assert form["contact_links"][0]["url"].startswith(project()["project"]["urls"]["Repository"])
            continue
        assert {"name", "description", "body"} <= form.keys()
        fields = [field for field in form["body"] if field["type"] != "markdown"]
        assert len({field["id"] for field in fields}) == len(fields)
        assert all(field["attributes"]["label"] for field in fields)
    for name in ("SECURITY.md", "CODE_OF_CONDUCT.md", ".github/pull_request_template.md"):
        assert len(read(name)) > 200
