"""What the README says works: its commands, its links, its tables, and its learner in one file."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from workbench import cli
from workbench.config import resolve
from workbench.plugin import GROUPS
from workbench.registry import Registry

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
OURS = "continual-workbench"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Return every `workbench ...` command, in a shell block or between backticks."""
    # A line that ends with a backslash goes on.
    lines = [line for block in blocks("sh") for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`(workbench [^`]+)`", README)
    return [line for line in lines if line.startswith("workbench ")]


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that holds the README's learner as pip would install it; put it on PYTHONPATH."""
    [(name, text)] = re.findall(r"<!-- plugin: (\S+) -->\n```python\n(.*?)^```$", README, re.M | re.S)
    folder = tmp_path_factory.mktemp("plugin")
    (folder / name).write_text(text)
    information = folder / "my_learners-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: my-learners\nVersion: 1.0\n")
    [project] = [tomllib.loads(block)["project"] for block in blocks("toml")]
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{point} = {value}" for point, value in points.items())]
    (information / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


def workbench(plugin: Path, folder: Path, *arguments: str) -> str:
    """Run a command in `folder` with the README's learner installed and return what it prints."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(plugin), str(ROOT)])}
    done = subprocess.run(
        [sys.executable, "-m", "workbench", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_learner_in_one_file_is_listed_and_described(plugin: Path, tmp_path: Path) -> None:
    listed = {entry["name"]: entry for entry in json.loads(workbench(plugin, tmp_path, "list", "--json"))}
    assert listed["random-feedback"]["status"] == "ok"
    assert listed["random-feedback"]["package"] == "my-learners"
    assert "random e-prop" in listed["random-feedback"]["summary"]
    assert "learner.chunk" in workbench(plugin, tmp_path, "show", "random-feedback")


def test_the_learner_in_one_file_keeps_its_contract(plugin: Path, tmp_path: Path) -> None:
    assert "FAILED" not in workbench(plugin, tmp_path, "check", "learner", "random-feedback")


def test_the_learner_in_one_file_learns_and_states_its_memory(plugin: Path, tmp_path: Path) -> None:
    settings = ["scenario=split-digits", "scenario.tasks=2", "train.epochs=4", "backbone.hidden=[64]"]
    learner = [
        "learner=random-feedback+replay",
        "learner.lr=1e-2",
        "learner.chunk=8",
        "track.mlflow=false",
        "device=cpu",
        "threads=1",
    ]
    results = json.loads(workbench(plugin, tmp_path, "run", *settings, *learner, "--json"))
    assert results["status"] == "finished"
    # Chance is 0.2 after the first task and 0.1 at the end.
    assert results["R"][0][0] > 0.6
    assert results["acc"] > 0.4
    memory = results["memory"]
    for category in ("parameters", "traces", "replay", "other"):
        assert memory["measured"][category] == pytest.approx(memory["formula"][category], rel=0.05)
        assert memory["formula"][category] > 0


def test_commands_name_settings_that_exist() -> None:
    runs = [line for line in commands() if line.startswith("workbench run") and "random-feedback" not in line]
    assert len(runs) > 5
    for line in runs:
        words = shlex.split(line, comments=True)[2:]
        resolve([word for word in words if re.match(r"[a-z_.]+=\S", word)])


def test_commands_and_options_exist(capsys: pytest.CaptureFixture[str]) -> None:
    for line in commands():
        words = shlex.split(line, comments=True)[1:]
        path = words[: 2 if words[0] in ("data", "check") else 1]
        path = [word for word in path if re.fullmatch(r"[a-z]+", word)]
        assert cli.main([*path, "--help"]) == 0, line
        explained = capsys.readouterr().out
        for option in (word for word in words if word.startswith("--")):
            assert option in explained, line


def test_benchmarks_are_modules_with_these_options() -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines() if "-m benchmarks." in line]
    assert len(lines) == 12
    shared = (ROOT / "benchmarks/options.py").read_text(encoding="utf-8")
    for line in lines:
        words = shlex.split(line, comments=True)
        source = (ROOT / words[2].replace(".", "/")).with_suffix(".py").read_text(encoding="utf-8")
        for option in (word for word in words if word.startswith("--")):
            assert f'"{option}"' in source + shared, line


def test_links_lead_to_files_and_headings() -> None:
    titles = re.findall(r"^## (.+)$", README, flags=re.MULTILINE)
    headings = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert links
    for link in links:
        if link.startswith("#"):
            assert link[1:] in headings, link
        elif not link.startswith("https://"):
            assert (ROOT / link).exists(), link


@pytest.mark.parametrize("kind", GROUPS)
def test_tables_name_every_plugin(kind: str) -> None:
    entries = [entry for entry in Registry.discover().entries(kind) if entry.package == OURS]
    assert entries
    for entry in entries:
        assert re.search(rf"`\+?{entry.name}`", README), entry.name
