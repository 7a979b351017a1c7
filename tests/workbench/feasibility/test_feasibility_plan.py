"""The runs of a study: how many, which stands for what, and one name for one run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from fixtures.feasible import request, write_study

from workbench.errors import WorkbenchError
from workbench.feasibility.plan import Place, plan_of
from workbench.registry import Registry
from workbench.sweep.folder import StudyFolder
from workbench.sweep.jobs import identity

PAIR = ("learner=osttp,bptt", "hardware=pcm,reram-om", "seed=0,1")


@pytest.fixture(scope="module")
def registry():
    return Registry.discover()


def test_every_learner_on_every_device_and_on_ideal_hardware(registry):
    plan = plan_of(request(*PAIR, only=[]), registry)
    [part] = plan.parts
    wanted = {
        Place(learner, device, seed)
        for learner in ("osttp", "bptt")
        for device in ("ideal", "pcm", "reram-om")
        for seed in (0, 1)
    }
    assert set(part.places()) == wanted
    assert len(plan.jobs) == 12


def test_the_runs_of_all_axes_are_counted_once(registry):
    plan = plan_of(request(*PAIR, axis_seeds=1), registry)
    found = Counter((part.axis.name, part.device) for part in plan.parts if part.axis for _ in part.jobs)
    # Learners times values; the device's own value is among them.
    assert found == {
        ("bits", "quantised"): 2 * 7,
        ("noise", "pcm"): 2 * 5,
        ("asymmetry", "reram-om"): 2 * 4,
        ("stuck", "pcm"): 2 * 5,
        ("stuck", "reram-om"): 2 * 5,
        ("drift", "pcm"): 2 * 5,
    }
    # Five axes go through the device as it is, whose runs are there already.
    assert len(plan.jobs) == 12 + 62 - 5 * 2


def test_the_device_as_it_is_is_the_same_run_wherever_it_stands(registry):
    plan = plan_of(request(*PAIR, only=["noise"]), registry)
    main, along = plan.parts
    own = {place: job.name for place, job in zip(main.places(), main.jobs, strict=True)}
    for place, job in zip(along.places(), along.jobs, strict=True):
        same = own[Place(place.learner, place.device, place.seed)] == job.name
        assert same == (place.value == 1)
    by_name = {}
    for job in (*main.jobs, *along.jobs):
        assert by_name.setdefault(job.name, identity(job.config)) == identity(job.config)


def test_an_own_value_that_is_not_among_those_tried_joins_them(registry):
    wanted = request("learner=osttp", "hardware=reram-es", "seed=0", only=["asymmetry"])
    assert plan_of(wanted, registry).parts[1].values == [0, 0.1, 0.2, pytest.approx(0.259359), 0.4]
    set_so = request("learner=osttp", "hardware=pcm", "hardware.read_noise=3", "seed=0", only=["noise"])
    assert plan_of(set_so, registry).parts[1].values == [0, 0.5, 1, 2, 3, 4]


def test_a_stand_in_brings_no_value_of_its_own(registry):
    wanted = request("learner=osttp", "hardware=pcm", "sensitivity.bits=3,5", "seed=0", only=["bits"])
    assert plan_of(wanted, registry).parts[1].values == [3, 5]


def test_floating_point_weights_are_not_at_the_coarse_end(registry):
    wanted = request("learner=osttp", "hardware=quantised", "hardware.bits=0", "seed=0", only=["bits"])
    plan = plan_of(wanted, registry)
    assert plan.parts[1].values == [2, 3, 4, 5, 6, 7, 8]
    assert len(plan.jobs) == 2 + 7


def test_settings_of_some_devices_or_learners_are_for_these(registry):
    wanted = request(
        "learner=osttp,bptt",
        "hardware=pcm,reram-om",
        "hardware.g_max=20",
        "hardware.rows=128",
        "learner.lr=0.02",
        "hardware.rounding=nearest",
        "seed=0",
        only=["bits"],
    )
    plan = plan_of(wanted, registry)
    settings = {
        place: job.settings
        for part in plan.parts
        for place, job in zip(part.places(), part.jobs, strict=True)
    }
    for place, found in settings.items():
        assert ("hardware.g_max" in found) == (place.device == "pcm")
        assert ("hardware.rows" in found) == (place.device != "ideal")
        assert ("hardware.rounding" in found) == (place.device == "quantised")
        assert found["learner.lr"] == 0.02


def test_axes_that_no_device_has_are_named(registry):
    plan = plan_of(request("learner=osttp", "hardware=ecram", "seed=0"), registry)
    assert [axis.name for axis in plan.unused] == ["noise", "drift"]


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["learner=ostpp"], "unknown learner 'ostpp'; did you mean 'osttp'"),
        (["hardware=pmc"], "unknown hardware 'pmc'; did you mean"),
        (["hardware=pcm", "hardware.gmax=20"], r"hardware\.gmax: unknown key; did you mean hardware\.g_max"),
        (["scenario.task=3"], r"scenario\.task"),
    ],
)
def test_slips_are_told(overrides, told, registry):
    with pytest.raises(WorkbenchError, match=told):
        plan_of(request(*overrides, "seed=0", only=[]), registry)


def test_jobs_keep_the_names_that_a_folder_has_for_them(tmp_path: Path, registry):
    """A study that grows runs nothing twice, whatever its grids call the same run."""
    first = write_study(tmp_path / "study", request(*PAIR, only=["noise"]))
    before = {job.name for job in first.jobs}
    wider = plan_of(request("learner=osttp,bptt,sltt", *PAIR[1:], only=["noise", "stuck"]), registry)
    names = {job.name for job in wider.named(tmp_path / "study").jobs}
    assert before < names
    assert len(names) == len(wider.jobs)
    for grid in wider.grids:
        study = StudyFolder.make(tmp_path / "study", grid)
    assert len(study.grids()) == 2 + 4
