"""Fixtures that all tests share."""

from __future__ import annotations

import os
import shutil
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from workbench.plugin import GROUPS
from workbench.registry import Registration, Registry

FIXTURES = Path(__file__).parent / "fixtures"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
SAMPLES = {
    "scenario": {"beeps": "Beeps", "clicks": "Clicks"},
    "learner": {"exact": "Exact", "local": "Local", "replay": "Replay", "slow-weights": "Slow"},
    "backbone": {"stack": "Stack"},
    "hardware": {"perfect": "Perfect"},
}


def pytest_configure() -> None:
    """Give torch one thread, and hypothesis no deadline: the machine may be busy with other things."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    hypothesis.settings.register_profile("workbench", deadline=None)
    hypothesis.settings.load_profile("workbench")


@pytest.fixture(scope="session")
def sample_registry() -> Registry:
    """Plug-ins with every kind of field; independent of what is installed."""
    if str(FIXTURES) not in sys.path:
        sys.path.append(str(FIXTURES))
    return Registry(
        tuple(
            Registration(kind, EntryPoint(name, f"sample_plugins:{target}", GROUPS[kind]), "samples", "1.0")
            for kind, plugins in SAMPLES.items()
            for name, target in plugins.items()
        )
    )


@pytest.fixture(scope="session")
def third_party(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example package installed in it; put it on PYTHONPATH."""
    return install(FIXTURES / "third_party", tmp_path_factory.mktemp("third_party"))


@pytest.fixture(scope="session")
def faulty_plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package of broken plug-ins installed in it; put it on PYTHONPATH."""
    return install(FIXTURES / "faulty_plugins", tmp_path_factory.mktemp("faulty_plugins"))


@pytest.fixture(scope="session")
def mishaps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the modifier that lets a run come to grief installed in it; put it on PYTHONPATH."""
    return install(FIXTURES / "mishap_plugins", tmp_path_factory.mktemp("mishap_plugins"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium of this machine, driven by playwright; tests that need one are skipped where either is missing."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="the Python package playwright is not installed"
    )
    program = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip(f"no Chromium on this machine: looked for {', '.join(CHROMIUM)}")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=program, args=CHROMIUM_ARGUMENTS)
        yield running
        running.close()


def install(source: Path, target: Path) -> Path:
    """Install a pure Python package into a folder as pip would; an environment may lack pip."""
    project = tomllib.loads((source / "pyproject.toml").read_text())
    for package in project["tool"]["setuptools"]["packages"]:
        shutil.copytree(source / package, target / package, ignore=shutil.ignore_patterns("__pycache__"))
    name, version = project["project"]["name"], project["project"]["version"]
    information = target / f"{name.replace('-', '_')}-{version}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines: list[str] = []
    for group, points in project["project"]["entry-points"].items():
        lines += [f"[{group}]", *(f"{point} = {value}" for point, value in points.items()), ""]
    (information / "entry_points.txt").write_text("\n".join(lines))
    return target
