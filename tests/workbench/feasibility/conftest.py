"""Studies that several tests look at."""

from __future__ import annotations

import pytest
from fixtures.feasible import devices, request, usual, write_study

from workbench.feasibility.pictures import pictures
from workbench.feasibility.study import read_study
from workbench.registry import Registry

WANTED = (
    "learner=osttp,bptt",
    "hardware=pcm,reram-om,ecram",
    "seed=0,1",
    "budget.endurance=1e6",
    "budget.lifetime=1y",
)
AXES = ("bits", "noise", "asymmetry")


@pytest.fixture(scope="session")
def registry():
    """The installed plug-ins."""
    return Registry.discover()


def results(place):
    """Return results of a run: on ecram devices wear out, and bptt fails there with one seed."""
    if (place.learner, place.device, place.seed) == ("bptt", "ecram", 1):
        return None
    worn = {"devices": devices(200.0, 150.0)} if place.device == "ecram" else {}
    return {**usual(place), **worn}


@pytest.fixture(scope="session")
def study_folder(tmp_path_factory):
    """The folder of a study of two learners on three devices along three axes; a few of its runs failed."""
    folder = tmp_path_factory.mktemp("feasibility") / "study"
    write_study(folder, request(*WANTED, only=AXES, axis_seeds=1), results)
    return folder


@pytest.fixture(scope="session")
def study(study_folder, registry):
    """That study, read."""
    return read_study(study_folder, request(*WANTED, only=AXES, axis_seeds=1), registry)


@pytest.fixture(scope="session")
def drawn(study, registry):
    """Its pictures."""
    return pictures(study, registry)
