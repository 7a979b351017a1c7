"""Fixtures that all tests share."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from workbench.plugin import GROUPS
from workbench.registry import Registration, Registry

FIXTURES = Path(__file__).parent / "fixtures"
SAMPLES = {
    "scenario": {"beeps": "Beeps", "clicks": "Clicks"},
    "learner": {"exact": "Exact", "local": "Local", "replay": "Replay", "slow-weights": "Slow"},
    "backbone": {"stack": "Stack"},
    "hardware": {"perfect": "Perfect"},
}


def register(
    kind: str, name: str, target: str, package: str = "samples", version: str = "1.0"
) -> Registration:
    """Return a registration as an installed package would make it."""
    return Registration(kind, EntryPoint(name, target, GROUPS[kind]), package, version)


@pytest.fixture(scope="session")
def sample_registry() -> Registry:
    """Plug-ins with every kind of field; independent of what is installed."""
    if str(FIXTURES) not in sys.path:
        sys.path.append(str(FIXTURES))
    return Registry(
        tuple(
            register(kind, name, f"sample_plugins:{target}")
            for kind, plugins in SAMPLES.items()
            for name, target in plugins.items()
        )
    )


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Keep torch to one thread once a test has loaded it; most tests never do."""
