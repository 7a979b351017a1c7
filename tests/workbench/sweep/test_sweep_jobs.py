"""Jobs: names that stay, identities of what is computed, problems of many jobs told once."""

from __future__ import annotations

import re

import pytest

from workbench.config import ExperimentConfig, resolve
from workbench.errors import ConfigurationError
from workbench.overrides import parse_value, write_value
from workbench.registry import Registry
from workbench.sweep.grid import Grid, grid_of
from workbench.sweep.jobs import LONGEST_NAME, Job, identity, jobs_of, named_as_in

AXES = ("scenario=beeps", "backbone=stack", "hardware=perfect")
BASE = (*AXES, "learner=local+replay")


def jobs(registry: Registry, *overrides: str) -> list[Job]:
    """Return the jobs of a grid."""
    return jobs_of(grid_of((*AXES, *overrides), None, registry), registry)


def configuration(registry: Registry, *overrides: str) -> ExperimentConfig:
    """Return a configuration over the base."""
    given = dict(text.split("=", 1) for text in (*BASE, *overrides))
    return resolve([f"{key}={value}" for key, value in given.items()], None, registry)


@pytest.mark.parametrize(
    "override",
    [
        "seed=0",
        "scenario.tasks=5",
        "learner.lr=1e-3",
        "learner.replay.size=200",
        "train.epochs=7",
        "train.batch_size=16",
        "backbone.hidden=[128]",
        "track.mlflow=false",
        "track.experiment=other",
        "threads=3",
        "device=cpu",
    ],
)
def test_the_identity_is_that_of_the_computation(override: str, sample_registry: Registry) -> None:
    assert identity(configuration(sample_registry, override)) == identity(configuration(sample_registry))


def test_the_identity_is_the_same_in_every_process_and_version(sample_registry: Registry) -> None:
    """A name on disk must be found again: this is a promise, not a computation."""
    assert identity(configuration(sample_registry)) == "6cef4e38"


OTHERS = [
    "seed=1",
    "scenario=clicks",
    "scenario.tasks=4",
    "scenario.front.cutoff=20",
    "learner=local",
    "learner=exact+replay",
    "learner=local+slow-weights",
    "learner=local+replay+slow-weights",
    "learner=local+slow-weights+replay",
    "learner.lr=2e-3",
    "learner.replay.size=201",
    "learner.optimiser=sgd",
    "backbone.hidden=[128,128]",
    "train.epochs=8",
    "train.batch_size=17",
    "train.evaluate=seen",
    "diagnose.gradient=1",
]


def test_whatever_changes_the_computation_changes_the_identity(sample_registry: Registry) -> None:
    extra = {"scenario=clicks": ["scenario.rate=3"]}
    found = [identity(configuration(sample_registry, one, *extra.get(one, []))) for one in OTHERS]
    everything = [identity(configuration(sample_registry)), *found]
    assert len(set(everything)) == len(everything)


def test_names_tell_people_and_machines_what_runs(sample_registry: Registry) -> None:
    found = jobs(sample_registry, "learner=local,local+replay", "learner.lr=1e-3,1e-2", "seed=0..1")
    names = [job.name for job in found]
    assert len(set(names)) == 8
    assert [name.rpartition("-")[0] for name in names[:5]] == [
        "local-0.001-seed0",
        "local-0.001-seed1",
        "local-0.01-seed0",
        "local-0.01-seed1",
        "local+replay-0.001-seed0",
    ]
    assert all(name.endswith(f"-{identity(job.config)}") for name, job in zip(names, found, strict=True))


def test_names_are_fit_for_files(sample_registry: Registry) -> None:
    found = jobs(
        sample_registry,
        "learner=samples:local",
        "scenario.path=/a/b c,'x''y'",
        f"track.experiment={'é' * 300},b",
        "scenario.shuffle=true,false",
    )
    for job in found:
        assert re.fullmatch(r"[A-Za-z0-9_.+=-]+", job.name)
        assert len(job.name) <= LONGEST_NAME + 40


def test_a_job_says_how_to_type_it(sample_registry: Registry) -> None:
    [job, _] = jobs(
        sample_registry, "learner=local", "backbone.hidden=[16, 16]", "scenario.shuffle=true", "seed=3,4"
    )
    assert job.overrides[3:] == [
        "learner=local",
        "backbone.hidden=[16, 16]",
        "scenario.shuffle=true",
        "seed=3",
    ]
    assert resolve(job.overrides, None, sample_registry) == job.config


def test_one_computation_is_one_job(sample_registry: Registry) -> None:
    """Defaults said and unsaid, a modifier alone and with its default rule, what only keeps record."""
    found = jobs(sample_registry, "learner=replay,local+replay", "learner.replay.size=200,300", "threads=1,2")
    assert [job.settings["learner.replay.size"] for job in found] == [200, 300]


def test_jobs_keep_the_names_of_an_earlier_grid(sample_registry: Registry) -> None:
    earlier = jobs(sample_registry, "learner=local", "seed=0..1")
    later = jobs(sample_registry, "learner=local", "threads=2", "learner.lr=1e-3,1e-2", "seed=0..1")
    renamed = named_as_in(later, earlier)
    assert [job.name for job in renamed[:2]] == [job.name for job in earlier]
    assert [job.name for job in renamed[2:]] == [job.name for job in later[2:]]
    assert all(job.config.threads == 2 for job in renamed)


def test_a_problem_of_all_jobs_is_told_once_and_of_some_with_their_settings(
    sample_registry: Registry,
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        jobs(
            sample_registry, "learner=local,exact", "scenario.tasks=99", "learner.spike_loss=-1,1", "seed=x,1"
        )
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("scenario.tasks: must be")
    assert "(in the job" not in lines[0]
    seed = next(line for line in lines if line.startswith("seed"))
    assert seed.endswith("(in the job learner=local, learner.spike_loss=-1, seed=x, and in 3 more jobs)")
    assert any(line.startswith("learner.spike_loss: ") and "learner=exact" in line for line in lines)
    assert len(lines) == len(set(lines))


def test_an_unknown_plug_in_is_named(sample_registry: Registry) -> None:
    with pytest.raises(
        ConfigurationError, match=r"unknown learner 'exat'; did you mean 'exact'.*in the job learner=exat"
    ):
        jobs(sample_registry, "learner=exact,exat")


def test_a_grid_without_a_learner_has_the_default_one_in_its_names() -> None:
    [job] = jobs_of(Grid({"scenario": "split-digits"}, {}))
    assert job.name.startswith("osttp-seed0-")


@pytest.mark.parametrize(
    "value", [1e-5, True, None, [128, 64], "1e-3", "", " a", "0..3", "a,b", "~/x", {"a": [1]}]
)
def test_values_are_written_as_they_are_typed(value: object) -> None:
    assert parse_value(write_value(value)) == value
