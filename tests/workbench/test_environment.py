"""What is captured of machine and code."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from workbench import environment


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "module.py").write_text("x = 1\n")
    git(tmp_path, "add", "module.py")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    return tmp_path


def test_capture_is_plain_data_with_the_moment_and_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/some/bin/workbench", "run", "learner=osttp", "note=two words"])
    captured = environment.capture(device="cuda:0", threads=3)
    assert json.loads(json.dumps(captured)) == captured
    assert captured["command"] == "workbench run learner=osttp 'note=two words'"
    assert abs((datetime.now(UTC) - datetime.fromisoformat(captured["started"])).total_seconds()) < 60
    assert (captured["device"], captured["threads"]) == ("cuda:0", 3)
    assert captured["machine"]["cores"] >= captured["machine"]["cores_available"] >= 1
    assert captured["packages"]["numpy"]


def test_capture_loads_nothing_heavy(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from workbench import environment; "
        f"environment.capture(Path({str(tmp_path)!r})); "
        "print([name for name in ('torch', 'numpy', 'mlflow', 'avalanche') if name in sys.modules])"
    )
    root = Path(environment.__file__).parent.parent
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_memory_and_processor_are_those_of_this_machine() -> None:
    memory = environment.total_memory()
    assert memory is None or 2**27 < memory < 2**50
    assert environment.cpu_model() != ""


def test_code_version_follows_the_checkout(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    version = environment.code_version(repository)
    monkeypatch.delenv("GIT_DIR")
    commit = git(repository, "rev-parse", "HEAD")
    assert version == {"commit": commit, "dirty": False}

    (repository / "notes.txt").write_text("not code\n")
    assert environment.code_version(repository) == {"commit": commit, "dirty": False}
    (repository / "learner of mine.py").write_text("y = 1\n")
    assert environment.code_version(repository) == {"commit": commit, "dirty": True}
    (repository / "learner of mine.py").unlink()
    (repository / "module.py").write_text("x = 2\n")
    assert environment.code_version(repository) == {"commit": commit, "dirty": True}


def test_code_version_is_none_without_checkout_or_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert environment.code_version(None) is None
    assert environment.code_version(tmp_path / "absent") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment.code_version(tmp_path) is None


def test_plug_in_packages_are_among_the_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    information = tmp_path / "their_rules-4.2.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: their-rules\nVersion: 4.2\n")
    (information / "entry_points.txt").write_text("[workbench.learners]\ntheirs = their_rules:Theirs\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert environment.package_versions()["their-rules"] == "4.2"
