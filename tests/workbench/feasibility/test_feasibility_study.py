"""A study as its folder tells it: what is finished, what is missing, and every number with its run folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from fixtures.feasible import request, usual, write_study

from workbench.errors import DataError
from workbench.feasibility.plan import plan_of
from workbench.feasibility.request import rebudgeted
from workbench.feasibility.runs import find
from workbench.feasibility.study import content, read_study
from workbench.registry import Registry
from workbench.sweep.folder import StudyFolder

WANTED = ("learner=osttp,bptt", "hardware=pcm,reram-om", "seed=0,1")


@pytest.fixture(scope="module")
def registry():
    return Registry.discover()


@pytest.fixture(scope="module")
def asked():
    return request(*WANTED, only=["noise"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory, asked):
    """The folder of a study that is finished."""
    folder = tmp_path_factory.mktemp("whole") / "study"
    write_study(folder, asked)
    return folder


@pytest.fixture(scope="module")
def partial(tmp_path_factory, asked):
    """The folder of a study without two of its runs: one failed, one never begun."""

    def results(place):
        return None if (place.learner, place.device, place.seed) == ("bptt", "reram-om", 1) else usual(place)

    folder = tmp_path_factory.mktemp("partial") / "study"
    plan = write_study(folder, asked, results)
    [along] = plan.parts[1:]
    gone = next(
        job.name
        for place, job in zip(along.places(), along.jobs, strict=True)
        if (place.learner, place.value, place.seed) == ("osttp", 2, 0)
    )
    shutil.rmtree(folder / "runs" / gone)
    return folder


def test_runs_are_found_by_what_they_stand_for(whole, asked, registry):
    found = find(whole, plan_of(asked, registry))
    assert found.missing == ()
    assert [run.seed for run in found.of("osttp", "pcm")] == [0, 1]
    assert [run.results["acc"] for run in found.reference("bptt")] == pytest.approx([0.75, 0.74])
    # The device as it is stands on the curve.
    assert found.at("osttp", "pcm", "noise", 1) == found.of("osttp", "pcm")
    assert found.at("osttp", "pcm", "noise", 4)[0].results["acc"] == pytest.approx(0.74)
    assert found.planned == {("noise", "pcm"): [0, 0.5, 1, 2, 4]}


def test_what_is_missing_is_named_with_its_error_and_log(partial, asked, registry):
    found = find(partial, plan_of(asked, registry))
    failed, gone = sorted(found.missing, key=lambda one: one.status)
    assert (failed.status, failed.error) == ("failed", "RuntimeError: no more luck")
    assert (partial / failed.log).read_text() == "why\n"
    # Told as finished by its status, but its run folder is the truth.
    assert (gone.status, gone.error) == ("missing", "")


def test_a_run_with_other_settings_is_missing(whole, asked, registry, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(whole, folder)
    name = plan_of(asked, registry).jobs[0].name
    file = folder / "runs" / name / "config.yaml"
    file.write_text(file.read_text().replace("epochs: 1", "epochs: 2"))
    [missing] = find(folder, plan_of(asked, registry)).missing
    assert (missing.job, missing.status) == (name, "stale")
    assert "train.epochs" in missing.error


def test_results_that_are_damaged_count_as_none(whole, asked, registry, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(whole, folder)
    (folder / "runs" / plan_of(asked, registry).jobs[0].name / "results.json").write_text("{")
    assert len(find(folder, plan_of(asked, registry)).missing) == 1


def test_a_pair_that_misses_a_seed_is_judged_by_the_others(partial, asked, registry):
    study = read_study(partial, asked, registry)
    assert study.verdict("bptt", "reram-om").finding("accuracy").numbers["seeds"] == 1
    [curve] = [one for one in study.curves if one.learner == "osttp"]
    # One of two seeds is enough for a point, not for a hole.
    assert curve.unknown == ()
    assert len(study.missing) == 2


def test_a_study_without_any_run_is_unknown_all_over(tmp_path, asked, registry):
    folder = tmp_path / "study"
    write_study(folder, asked, lambda place: None)
    study = read_study(folder, asked, registry)
    assert {one.answer for one in study.verdicts} == {"unknown"}
    assert study.curves == ()
    assert len(study.missing) == 28
    json.dumps(content(study), allow_nan=False)


def test_other_budgets_give_other_verdicts_from_the_same_runs(whole, asked, registry):
    answers = {}
    for name, budgets in {
        "survey": [],
        "much": ["budget.endurance=1e12", "budget.loss=10%"],
        "little": ["budget.endurance=1e12", "budget.sram=1KiB"],
    }.items():
        study = read_study(whole, rebudgeted(asked, budgets), registry)
        answers[name] = {one.answer for one in study.verdicts}
    # Two seeds that agree by chance give no interval: never without a reservation.
    assert answers == {
        "survey": {"not feasible"},
        "much": {"feasible with reservations"},
        "little": {"not feasible"},
    }


def test_every_number_has_its_run_folders(whole, asked, registry):
    study = read_study(whole, rebudgeted(asked, ["budget.endurance=1e12"]), registry)
    told = json.loads(json.dumps(content(study), allow_nan=False))
    folders = []
    assert [(one["learner"], one["hardware"]) for one in told["pairs"]] == [
        (learner, device) for learner in asked.learners for device in asked.devices
    ]
    for pair in told["pairs"]:
        for criterion in pair["criteria"].values():
            assert criterion["runs"]
            folders += criterion["runs"]
    for reference in told["reference"]:
        assert len(reference["runs"]) == len(reference["acc"]) == 2
        folders += reference["runs"]
    for curve in told["sensitivity"]:
        assert len(curve["ideal"]["runs"]) == 2
        for point in curve["points"]:
            assert len(point["runs"]) == len(point["by_seed"]) == 2
            folders += [*point["runs"], *curve["ideal"]["runs"]]
    assert set(folders) == {f"runs/{one.job}" for one in StudyFolder(whole).statuses()}
    for folder in set(folders):
        assert (whole / folder / "results.json").is_file()


def test_numbers_agree_with_the_runs_they_name(whole, asked, registry):
    told = content(read_study(whole, asked, registry))
    for pair in told["pairs"]:
        accuracy = pair["criteria"]["accuracy"]
        own = [
            json.loads((whole / run / "results.json").read_text())
            for run in accuracy["runs"]
            if f"-{pair['hardware']}-" in run
        ]
        assert accuracy["numbers"]["acc"] == pytest.approx(sum(one["acc"] for one in own) / len(own))
        assert accuracy["numbers"]["by_seed"] == {str(one["seed"]): one["acc"] for one in own}
        most = max(one["devices"]["writes"]["max"] for one in own)
        assert pair["criteria"]["endurance"]["numbers"]["writes_max"] == most


def test_infinity_is_a_word_in_json(whole, asked, registry):
    from fixtures.feasible import devices

    def unwritten(place):
        return {**usual(place), **({} if place.device == "ideal" else {"devices": devices(0.0, 0.0)})}

    folder = whole.parent / "unwritten"
    write_study(folder, asked, unwritten)
    told = content(read_study(folder, asked, registry))
    assert told["pairs"][0]["criteria"]["endurance"]["numbers"]["lifetime_seconds"] == "infinite"
    json.dumps(told, allow_nan=False)


def test_a_folder_of_something_else_is_refused(tmp_path: Path):
    from workbench.feasibility.request import read_request

    with pytest.raises(Exception, match="no feasibility study") as caught:
        read_request(tmp_path)
    assert not isinstance(caught.value, DataError)
