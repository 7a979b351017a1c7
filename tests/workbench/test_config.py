from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from workbench.config import ExperimentConfig, resolve
from workbench.errors import ConfigurationError
from workbench.overrides import merge, parse_value, read_config_file, to_yaml
from workbench.registry import Registry

AXES = {"scenario": "beeps", "learner": "local", "backbone": "stack", "hardware": "perfect"}


@pytest.fixture(scope="module")
def configure(sample_registry: Registry) -> Any:
    def call(*overrides: str, file: Path | None = None, **axes: str) -> ExperimentConfig:
        chosen = [f"{axis}={name}" for axis, name in (AXES | axes).items() if name]
        return resolve([*chosen, *overrides], file, sample_registry)

    return call


def problems(configure: Any, *overrides: str, **axes: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        configure(*overrides, **axes)
    return str(caught.value).splitlines()


def test_values_reach_their_fields_with_their_types(configure: Any) -> None:
    config = configure(
        "learner.lr=1e-3",
        "learner.weight-decay=1",
        "scenario.tasks=3",
        "scenario.path=some/where",
        "scenario.shuffle=true",
        "scenario.front.cutoff=3",
        "scenario.gains={left-ear: 0.5}",
        "backbone.hidden=[256, 128]",
        "backbone.reset=0.5",
        "seed=3",
        "threads=null",
        "device=cuda:1",
        "track.uri=http://host/?a=b",
    )
    assert config.learner.rule.config.lr == 1e-3
    assert config.learner.rule.config.weight_decay == 1.0
    assert config.scenario.config.tasks == 3
    assert config.scenario.config.path == Path("some/where")
    assert config.scenario.config.shuffle is True
    assert config.scenario.config.front.cutoff == 3.0
    assert config.scenario.config.gains == {"left-ear": 0.5}
    assert config.backbone.config.hidden == (256, 128)
    assert config.backbone.config.reset == 0.5
    assert (config.seed, config.threads, config.device) == (3, None, "cuda:1")
    assert config.track.uri == "http://host/?a=b"


def test_epochs_and_batch_size_come_from_the_scenario_unless_given(configure: Any) -> None:
    config = configure()
    assert (config.train.epochs, config.train.batch_size) == (7, 16)
    config = configure("train.epochs=2", "train.batch-size=5")
    assert (config.train.epochs, config.train.batch_size) == (2, 5)


def test_defaults_name_the_main_job(sample_registry: Registry) -> None:
    # The sample registry lacks them, so the message tells which plug-ins were looked for.
    with pytest.raises(ConfigurationError) as caught:
        resolve([], registry=sample_registry)
    lines = str(caught.value).splitlines()
    assert [line.partition(" (")[0] for line in lines] == [
        "unknown scenario 'split-shd'",
        "unknown learner 'osttp'",
        "unknown backbone 'lif'",
        "unknown hardware 'ideal'",
    ]


def test_a_rule_and_its_modifiers_keep_their_order(configure: Any) -> None:
    config = configure("learner.replay.size=9", "learner.lr=0.5", learner="local+slow-weights+replay")
    assert config.learner.name == "local+slow-weights+replay"
    assert config.learner.rule.config.lr == 0.5
    assert [one.name for one in config.learner.modifiers] == ["slow-weights", "replay"]
    assert config.learner.modifiers[1].config.size == 9


def test_a_modifier_alone_brings_its_rule(configure: Any) -> None:
    config = configure("learner.spike-loss=2", learner="replay")
    assert config.learner.name == "local+replay"
    assert config.learner.rule.config.spike_loss == 2


@pytest.mark.parametrize(
    ("learner", "message"),
    [
        ("replay+local", "the rule comes first; write learner=local+replay"),
        ("local+exact", "'local' and 'exact' are both rules"),
        ("local+replay+replay", "the modifier 'replay' stands twice"),
        ("locl", "unknown learner 'locl'; did you mean 'local'? (known: exact, local, replay, slow-weights)"),
        ("local+reply", "did you mean 'replay'?"),
        ("local+", "unknown learner ''"),
    ],
)
def test_learners_that_make_no_sense(configure: Any, learner: str, message: str) -> None:
    [line] = problems(configure, learner=learner)
    assert message in line


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "scenario.taks=3",
            "scenario.taks: unknown key; did you mean scenario.tasks? (allowed: scenario.tasks,",
        ),
        ("scenario.front.cutof=3", "scenario.front.cutof: unknown key; did you mean scenario.front.cutoff?"),
        ("lr=3", "lr: unknown key; did you mean learner.lr? (allowed: scenario, learner,"),
        ("hardware.bits=3", "hardware.bits: hardware has no settings"),
        ("learner.replay.size=3", "no part of learner=local; write learner=local+replay to add it"),
        ("learner.lr=fast", "learner.lr: wants a number, got 'fast' (text)"),
        ("learner.lr=true", "learner.lr: wants a number, got true (a boolean)"),
        ("learner.lr=null", "learner.lr: wants a number, got null"),
        ("scenario.tasks=true", "scenario.tasks: wants an integer, got true (a boolean)"),
        ("scenario.tasks=2.5", "scenario.tasks: wants an integer, got 2.5"),
        ("scenario.tasks='3'", "scenario.tasks: wants an integer, got '3' (text)"),
        ("scenario.shuffle=1", "scenario.shuffle: wants true or false, got 1"),
        ("scenario.front=3", "scenario.front: wants keys and values, got 3"),
        ("scenario.path=[a]", 'scenario.path: wants text, got ["a"] (a list)'),
        ("scenario.tasks=0", "scenario.tasks: must be >= 1, got 0"),
        ("scenario.tasks=21", "scenario.tasks: must be <= 20, got 21"),
        ("learner.lr=0", "learner.lr: must be > 0"),
        ("learner.momentum=1", "learner.momentum: must be < 1"),
        ("learner.lr=.inf", "learner.lr: wants a finite number"),
        ("train.epochs=0", "train.epochs: must be >= 1, got 0"),
        ("seed=-1", "seed: must be >= 0, got -1"),
        ("device=cud", "device: must be auto, cpu, cuda, cuda:N or mps; did you mean cuda?"),
        (
            "scenario.setting=clas",
            "scenario.setting: must be one of class, task, domain; got 'clas' (text); did you mean class?",
        ),
        ("backbone.hidden=128", "backbone.hidden: wants a list, got 128"),
        ("backbone.hidden=[1, x]", "backbone.hidden[1]: wants an integer, got 'x' (text)"),
        ("backbone.hidden=[]", "backbone.hidden: must hold at least 1 values"),
        ("train=3", "train: wants keys and values (train.KEY=VALUE), got 3"),
        ("seed", "seed: missing '='; write key=value"),
        ("=3", "not a key"),
        ("scenario..tasks=3", "'scenario..tasks': not a key"),
        ("seed=", "seed: no value given (write null for none"),
        ("seed=[1", "seed: cannot read '[1' as a value"),
        ("track.experiment=#1", "# starts a comment"),
        ("seed=&a [*a]", "configuration: holds a value that is not plain data"),
        ("seed=!!python/object:os.system {}", "seed: cannot read"),
    ],
)
def test_each_fault_names_key_value_and_what_is_allowed(configure: Any, override: str, message: str) -> None:
    [line] = problems(configure, override)
    assert message in line
    assert "pydantic" not in line


def test_a_plugin_name_must_be_a_name(configure: Any) -> None:
    assert problems(configure, scenario="3") == ["scenario: wants the name of a plug-in, got 3"]


def test_a_required_setting_is_asked_for(configure: Any) -> None:
    assert problems(configure, scenario="clicks") == ["scenario.rate: required, but not given"]
    assert configure("scenario={name: clicks, rate: 5}", scenario="").scenario.config.rate == 5.0


def test_all_problems_are_told_at_once(configure: Any) -> None:
    lines = problems(
        configure, "seed", "learner.lr=0", "learner.lrr=1", "scenario.tasks=x", "threads=0", "foo=1"
    )
    assert [line.partition(":")[0] for line in lines] == [
        "seed",
        "scenario.tasks",
        "learner.lrr",
        "learner.lr",
        "foo",
        "threads",
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("seed=1", "seed=2"),
        ("learner.weight-decay=1", "learner.weight_decay=2"),
        ("scenario.front=3", "scenario.front.cutoff=4"),
        ("scenario.front.cutoff=4", "scenario.front={cutoff: 3}"),
        ("scenario.name=clicks", "seed=1"),
    ],
)
def test_a_key_is_given_once(configure: Any, first: str, second: str) -> None:
    assert "given twice" in problems(configure, first, second)[0]


def test_file_and_command_line_merge_and_the_command_line_wins(configure: Any, tmp_path: Path) -> None:
    file = tmp_path / "base.yaml"
    file.write_text(
        "scenario: {name: beeps, tasks: 2, front: {cutoff: 5}}\n"
        "learner:\n  name: local+replay\n  lr: 1e-2\n  weight-decay: 0.5\n  replay: {size: 3, half-life: 2}\n"
        "backbone: stack\ntrain:\nseed: 8\n"
    )
    none = dict.fromkeys(("scenario", "learner", "backbone"), "")
    config = configure("learner.weight_decay=0.25", "learner.replay.size=4", "seed=9", file=file, **none)
    assert config.scenario.config.tasks == 2
    assert config.scenario.config.front.cutoff == 5
    assert config.learner.rule.config.lr == 1e-2
    assert config.learner.rule.config.weight_decay == 0.25
    assert config.learner.modifiers[0].config.size == 4
    assert config.learner.modifiers[0].config.half_life == 2
    assert config.seed == 9


def test_settings_of_a_replaced_plugin_are_dropped(configure: Any, tmp_path: Path) -> None:
    file = tmp_path / "base.yaml"
    file.write_text(
        "scenario: {name: beeps, tasks: 2}\n"
        "learner: {name: local+replay, lr: 0.5, spike_loss: 1, replay: {size: 3}}\nseed: 8\n"
    )
    config = configure("scenario.rate=2", file=file, scenario="clicks", learner="exact+replay")
    assert config.scenario.config.tasks == 2 == type(config.scenario.config)(rate=1).tasks
    assert config.learner.rule.config.lr == 1e-3
    assert config.learner.modifiers[0].config.size == 3
    assert config.seed == 8
    config = configure(file=file, scenario="", learner="local+slow-weights")
    assert config.scenario.config.tasks == 2
    assert config.learner.rule.config.lr == 0.5


def test_settings_of_an_unnamed_plugin_stay(configure: Any, tmp_path: Path) -> None:
    file = tmp_path / "base.yaml"
    file.write_text("learner: {lr: 0.5}\n")
    assert configure(file=file).learner.rule.config.lr == 0.5


def test_faults_say_whether_the_file_holds_them(configure: Any, tmp_path: Path) -> None:
    file = tmp_path / "base.yaml"
    file.write_text("learner: {lr: x, mommentum: 3}\n")
    lines = problems(configure, "learner.weight_decay=y", file=file)
    assert [line.endswith(f"(in {file})") for line in lines] == [True, True, False]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"seed: [1\n", "not valid YAML: expected"),
        (b"seed: 1\nseed: 2\n", "duplicate key 'seed' in line 2, column 1"),
        (b"- 1\n", "wants keys and values at the top level"),
        (b"\xff\xfe", "not a text file in UTF-8"),
        (b"seed: 2024-01-01\n", "seed: wants an integer, got '2024-01-01' (text)"),
        (b"1: 2\n", "1: unknown key"),
        (b"scenario: null\n", "scenario: wants the name of a plug-in, got null"),
        (b"seed: !!set {a}\n", "not plain data"),
    ],
)
def test_faulty_files(configure: Any, tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "base.yaml"
    file.write_bytes(content)
    axes = {"scenario": ""} if content.startswith(b"scenario") else {}
    [line] = problems(configure, file=file, **axes)
    assert message in line
    assert str(file) in line


def test_a_missing_file_is_named(configure: Any, tmp_path: Path) -> None:
    assert problems(configure, file=tmp_path / "no.yaml") == [
        f"{tmp_path / 'no.yaml'}: cannot be read: No such file or directory"
    ]
    assert "Is a directory" in problems(configure, file=tmp_path)[0]


def test_a_home_path_is_expanded(configure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert configure("scenario.path=~/data").scenario.config.path == Path("/home/someone/data")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("-2.5E+3", -2500.0),
        ("1_000", 1000),
        ("1_000.5", 1000.5),
        ("007", 7),
        ("0x1f", 31),
        ("0o17", 15),
        (".5", 0.5),
        ("5.", 5.0),
        ("-.inf", float("-inf")),
        ("12:30", "12:30"),
        ("off", "off"),
        ("NO", "NO"),
        ("True", True),
        ("~", None),
        ("''", ""),
        ("1e", "1e"),
        (".", "."),
        ("1.2.3", "1.2.3"),
        ("+", "+"),
        ("[1e-3, a, {b: null}]", [1e-3, "a", {"b": None}]),
    ],
)
def test_values_are_read_as_yaml_1_2(text: str, value: object) -> None:
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


numbers = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
configurations = st.fixed_dictionaries(
    {
        "scenario": st.fixed_dictionaries(
            {"name": st.just("beeps")},
            optional={
                "tasks": st.integers(1, 20),
                "setting": st.sampled_from(["class", "task", "domain"]),
                "path": st.none() | texts.filter(lambda text: "\0" not in text),
                "front": st.fixed_dictionaries({"cutoff": numbers.filter(lambda number: number > 0)}),
                "gains": st.dictionaries(texts, numbers, max_size=3),
            },
        ),
        "learner": st.fixed_dictionaries(
            {"name": st.sampled_from(["local+replay", "exact+slow-weights+replay", "replay"])},
            optional={
                "lr": numbers.filter(lambda number: number > 0),
                "replay": st.fixed_dictionaries({}, optional={"size": st.integers(1)}),
            },
        ),
        "backbone": st.just("stack")
        | st.fixed_dictionaries(
            {"name": st.just("stack"), "hidden": st.lists(st.integers(), min_size=1, max_size=4)},
            optional={"reset": st.sampled_from(["hard", "soft"]) | numbers},
        ),
        "hardware": st.just("perfect"),
    },
    optional={
        "train": st.fixed_dictionaries({}, optional={"epochs": st.none() | st.integers(1)}),
        "track": st.fixed_dictionaries({}, optional={"uri": st.none() | texts, "mlflow": st.booleans()}),
        "seed": st.integers(0),
        "device": st.sampled_from(["auto", "cpu", "cuda:3"]),
        "threads": st.none() | st.integers(1),
    },
)


@given(plain=configurations)
def test_plain_data_round_trips_exactly(plain: dict[str, Any], sample_registry: Registry) -> None:
    config = ExperimentConfig.from_dict(plain, sample_registry)
    dumped = config.to_dict()
    assert ExperimentConfig.from_dict(dumped, sample_registry) == config
    assert json.loads(json.dumps(dumped)) == dumped
    assert yaml.safe_load(yaml.safe_dump(dumped)) == dumped


@given(plain=configurations)
def test_a_written_configuration_is_read_back_exactly(
    plain: dict[str, Any], sample_registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = ExperimentConfig.from_dict(plain, sample_registry)
    file = tmp_path_factory.getbasetemp() / "round-trip.yaml"
    file.write_text(to_yaml(config.to_dict()), encoding="utf-8")
    assert read_config_file(file) == config.to_dict()
    assert resolve([], file, sample_registry) == config


@given(text=st.text(max_size=12) | st.text("0123456789.eE+-_:xob~ '\"[]{}#,", max_size=10))
def test_any_text_is_a_value_or_a_configuration_error(text: str) -> None:
    with contextlib.suppress(ConfigurationError):
        parse_value(text)


trees = st.recursive(
    st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=8
)
mappings = st.dictionaries(st.sampled_from("abc"), trees, max_size=3)


@given(base=mappings, top=mappings)
def test_merging_has_the_empty_tree_as_unit_and_merging_twice_changes_nothing(base: Any, top: Any) -> None:
    assert merge(base, {}) == base == merge({}, base)
    merged = merge(base, top)
    assert merge(merged, top) == merged
    assert merged.keys() == base.keys() | top.keys()


def test_configurations_are_frozen(configure: Any) -> None:
    config = configure()
    with pytest.raises(AttributeError):
        config.seed = 3
    with pytest.raises(ValueError, match="frozen"):
        config.learner.rule.config.lr = 3


def test_a_faulty_item_is_not_reported_as_a_missing_one() -> None:
    from workbench.backbones.lif import LIFConfig
    from workbench.validation import validate

    problems: list[str] = []
    assert validate(LIFConfig, {"hidden": [0]}, "backbone", problems) is None
    assert problems == ["backbone.hidden[0]: must be > 0, got 0"]
