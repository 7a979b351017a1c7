"""Grids: the order of their points, study files under the command line, and every problem told at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.errors import ConfigurationError
from workbench.overrides import to_yaml
from workbench.registry import Registry
from workbench.sweep.grid import Grid, grid_of, matches, tree_of

AXES = ("scenario=beeps", "backbone=stack", "hardware=perfect")


def points(registry: Registry, *overrides: str, file: Path | None = None) -> list[dict[str, object]]:
    """Return the points of a grid."""
    return grid_of(overrides, file, registry).points(registry)


def problems(registry: Registry, *overrides: str, file: Path | None = None) -> list[str]:
    """Return the lines of the error that a grid raises."""
    with pytest.raises(ConfigurationError) as caught:
        grid_of(overrides, file, registry)
    return str(caught.value).splitlines()


@pytest.fixture
def study(tmp_path: Path):
    """Write a study file."""

    def write(text: str) -> Path:
        file = tmp_path / "study.yaml"
        file.write_text(text)
        return file

    return write


def test_the_last_axis_turns_fastest(sample_registry: Registry) -> None:
    found = points(sample_registry, "learner=exact,local", "threads=1", "seed=0..2")
    assert found == [
        {"threads": 1, "learner": learner, "seed": seed}
        for learner in ("exact", "local")
        for seed in range(3)
    ]


def test_one_value_is_a_setting_and_several_are_an_axis(sample_registry: Registry) -> None:
    grid = grid_of(("learner=exact", "seed=0..1", "scenario.shuffle=true"), None, sample_registry)
    assert grid == Grid({"learner": "exact", "scenario.shuffle": True}, {"seed": [0, 1]})
    assert grid.varied() == ["seed"]


def test_settings_of_modifiers_are_left_out_of_learners_without_them(sample_registry: Registry) -> None:
    found = points(
        sample_registry, "learner=local,local+replay", "learner.replay.size=100,500", "learner.lr=0.1"
    )
    assert found == [
        {"learner.lr": 0.1, "learner": "local"},
        {"learner.lr": 0.1, "learner": "local+replay", "learner.replay.size": 100},
        {"learner.lr": 0.1, "learner": "local+replay", "learner.replay.size": 500},
    ]


def test_settings_of_a_modifier_that_no_learner_has_stay_and_are_complained_of_later(
    sample_registry: Registry,
) -> None:
    assert (
        points(sample_registry, "learner=local,exact", "learner.replay.size=100")[0]["learner.replay.size"]
        == 100
    )


def test_dashes_and_underscores_spell_the_same_modifier(sample_registry: Registry) -> None:
    found = points(sample_registry, "learner=exact,exact+slow-weights", "learner.slow_weights.rate=1,2")
    assert [one.get("learner.slow_weights.rate") for one in found] == [None, 1, 2]


def test_what_is_typed_wins_over_the_file(sample_registry: Registry, study) -> None:
    file = study(
        "settings: {scenario: {name: beeps, tasks: 3}, learner.replay.half_life: 2, seed: 7}\n"
        "axes:\n  learner: [local, local+replay]\n  scenario.shuffle: 'true, false'\n"
    )
    assert grid_of((), file, sample_registry) == Grid(
        {"scenario": "beeps", "scenario.tasks": 3, "learner.replay.half_life": 2, "seed": 7},
        {"learner": ["local", "local+replay"], "scenario.shuffle": [True, False]},
    )
    typed = ("seed=0..1", "learner=local+replay", "learner.replay.half-life=3", "scenario.tasks=4")
    assert grid_of(typed, file, sample_registry) == Grid(
        {
            "scenario": "beeps",
            "learner": "local+replay",
            "learner.replay.half-life": 3,
            "scenario.tasks": 4,
        },
        {"scenario.shuffle": [True, False], "seed": [0, 1]},
    )


def test_axes_of_a_file_may_be_nested_and_hold_ranges_and_globs(sample_registry: Registry, study) -> None:
    file = study(
        "axes:\n  learner: {glob: ['e*', 'l*'], lr: 1e-3..1e-1*10}\n"
        "  backbone.hidden: [[16], [32, 32]]\n  seed: ['0..2', 7]\n"
    )
    assert grid_of((), file, sample_registry).axes == {
        "learner": ["exact", "local"],
        "learner.lr": [0.001, 0.01, 0.1],
        "backbone.hidden": [[16], [32, 32]],
        "seed": [0, 1, 2, 7],
    }


def test_cases_change_the_points_that_match_and_exclusions_drop_them(
    sample_registry: Registry, study
) -> None:
    file = study(
        "axes: {learner: [exact, local, local+replay], seed: [0, 1, 2]}\n"
        "cases:\n"
        "  - {when: {learner: 'local*', seed: [0, 1]}, set: {learner: {lr: 0.5}}}\n"
        "  - {when: {learner: local+replay}, set: {learner.lr: 0.7}}\n"
        "exclude:\n  - {learner: exact, seed: [1, 2]}\n  - {seed: 2, backbone: 'li*'}\n"
    )
    assert points(sample_registry, file=file) == [
        {"learner": "exact", "seed": 0},
        {"learner": "local", "seed": 0, "learner.lr": 0.5},
        {"learner": "local", "seed": 1, "learner.lr": 0.5},
        {"learner": "local+replay", "seed": 0, "learner.lr": 0.7},
        {"learner": "local+replay", "seed": 1, "learner.lr": 0.7},
    ]
    assert grid_of((), file, sample_registry).varied() == ["learner", "seed", "learner.lr"]


def test_keys_of_cases_may_be_spelled_either_way(sample_registry: Registry, study) -> None:
    file = study(
        "settings: {learner: local+replay}\naxes: {learner.replay.half-life: [1, 2]}\n"
        "cases: [{when: {learner.replay.half_life: 2}, set: {seed: 5}}]\n"
    )
    assert [point.get("seed") for point in points(sample_registry, file=file)] == [None, 5]


def test_points_that_come_out_alike_are_one(sample_registry: Registry, study) -> None:
    file = study("axes: {seed: [0, 1]}\ncases: [{when: {seed: 1}, set: {seed: 0}}]\n")
    assert points(sample_registry, file=file) == [{"seed": 0}]


def test_a_grid_of_which_nothing_is_left_is_an_error(sample_registry: Registry, study) -> None:
    file = study("settings: {seed: 1}\nexclude: [{seed: 1}]\n")
    with pytest.raises(ConfigurationError, match="leaves no job"):
        points(sample_registry, file=file)


def test_conditions() -> None:
    point = {"learner": "bptt+replay", "seed": 1, "flag": True}
    assert matches(point, {})
    assert matches(point, {"learner": ["osttp", "bptt*"], "seed": 1})
    assert not matches(point, {"learner": "bptt", "seed": 1})
    assert not matches(point, {"other": 1})
    # The plug-in that runs when none is named.
    assert matches(point, {"backbone": "lif"})
    assert not matches(point, {"backbone": "lru"})


def test_globs_of_plug_ins_values_and_files(sample_registry: Registry, tmp_path: Path) -> None:
    for name in ("b.npz", "a.npz", "c.txt"):
        (tmp_path / name).touch()
    found = grid_of(
        (
            *AXES,
            "seed=0,1",
            "learner.glob=*a*,exact",
            "scenario.setting.glob=*a*",
            "scenario.shuffle.glob=*",
            "backbone.reset.glob=*",
            f"scenario.path.glob={tmp_path}/*.npz",
        ),
        None,
        sample_registry,
    )
    assert found.axes == {
        "seed": [0, 1],
        "learner": ["exact", "local", "replay"],
        "scenario.setting": ["class", "task", "domain"],
        "scenario.shuffle": [False, True],
        "backbone.reset": ["hard", "soft"],
        "scenario.path": [f"{tmp_path}/a.npz", f"{tmp_path}/b.npz"],
    }


def test_a_glob_asks_the_plug_ins_that_are_swept(sample_registry: Registry) -> None:
    found = grid_of(("scenario.setting.glob=*", "scenario.glob=bee*"), None, sample_registry)
    assert found == Grid({"scenario": "beeps"}, {"scenario.setting": ["class", "task", "domain"]})


def test_a_glob_of_sections(sample_registry: Registry) -> None:
    assert grid_of((*AXES, "train.evaluate.glob=*e*"), None, sample_registry).axes == {
        "train.evaluate": ["seen", "current"]
    }


@pytest.mark.parametrize(
    ("override", "told"),
    [
        (
            "learner.glob=x*",
            "learner.glob=x*: matches nothing (there is: exact, local, replay, slow-weights)",
        ),
        ("scenario.setting.glob=x*", "matches nothing (there is: class, task, domain)"),
        ("scenario.tasks.glob=*", "scenario.tasks has no fixed set of values to choose from"),
        ("scenario.gains.glob=*", "scenario.gains has no fixed set"),
        ("scenario.nonsense.glob=*", "scenario.nonsense has no fixed set"),
        ("scenario.path.glob=/nowhere/*", "matches nothing (there is: no such file)"),
    ],
)
def test_globs_that_match_nothing(override: str, told: str, sample_registry: Registry) -> None:
    [line] = problems(sample_registry, *AXES, override)
    assert told in line


def test_every_problem_is_told_at_once(sample_registry: Registry, study) -> None:
    file = study("axes: {scenario.tasks: [], backbone.hidden: '0..'}\nsettings: {backbone.hidden: [1]}\n")
    found = problems(
        sample_registry,
        "seed",
        "seed=1,",
        "threads=1",
        "threads=2",
        "learner=exact",
        "learner.glob=*",
        "train=3",
        "train.epochs=1,2",
        file=file,
    )
    told = "\n".join(found)
    assert "seed: missing '='" in told
    assert "seed=1,: a value is missing" in told
    assert "threads: given twice" in told
    assert "learner.glob: given twice" in told
    assert "train.epochs: given twice, train is given too" in told
    assert f"axes.scenario.tasks: holds no value (in {file})" in told
    assert f"backbone.hidden: stands in settings and in axes (in {file})" in told
    assert len(found) == 7


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["seed=1,1"], "seed: the value 1 stands twice"),
        (["seed=0..3,2"], "seed: the value 2 stands twice"),
        (["scenario.shuffle=1,true,true"], "scenario.shuffle: the value true stands twice"),
        (["learner.slow-weights.rate=1", "learner.slow_weights.rate=2"], "given twice"),
    ],
)
def test_a_value_or_key_given_twice(overrides: list[str], told: str, sample_registry: Registry) -> None:
    [line] = problems(sample_registry, *overrides)
    assert told in line


def test_one_and_true_are_two_values(sample_registry: Registry) -> None:
    assert grid_of(("scenario.shuffle=1,true",), None, sample_registry).axes["scenario.shuffle"] == [1, True]


def test_a_condition_on_a_key_that_the_study_lacks_is_a_slip(sample_registry: Registry, study) -> None:
    file = study("axes: {learner: [exact, local]}\nexclude: [{leaner: exact}]\n")
    assert problems(sample_registry, file=file) == [
        f"exclude: leaner is no setting of this study; did you mean learner? (in {file})"
    ]


@pytest.mark.parametrize(
    "text", ["axis: {seed: [1]}", "axes: [1]", "cases: [{when: {seed: 1}}]", "- 1", "axes: {seed: [1, 2}"]
)
def test_a_faulty_study_file_is_named(text: str, sample_registry: Registry, study) -> None:
    file = study(text)
    assert all(str(file) in line for line in problems(sample_registry, file=file))


def test_a_grid_is_stored_and_read_as_a_study_file(sample_registry: Registry, study) -> None:
    grid = grid_of(
        (),
        study(
            "settings: {scenario: beeps, threads: 1}\naxes: {learner: [exact, local], learner.lr: 1e-3..1e-1*10}\n"
            "cases: [{when: {learner: local}, set: {seed: 3}}]\nexclude: [{learner.lr: 0.1}]\n"
        ),
        sample_registry,
    )
    assert grid_of((), study(to_yaml(grid.to_dict())), sample_registry) == grid


def test_points_as_trees() -> None:
    assert tree_of({"learner.replay.size": 3, "learner": "bptt+replay", "train.epochs": 1}) == {
        "learner": {"name": "bptt+replay", "replay": {"size": 3}},
        "train": {"epochs": 1},
    }
