"""Checks of a learner's settings."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pydantic import ValidationError

from workbench.checks.subject import ContractError, Subject, expect
from workbench.checks.whole_runs import run
from workbench.plugin import LearnerConfig, Plugin, Rule
from workbench.registry import summary_of


def frozen_with_valid_defaults(subject: Subject) -> str:
    """Settings have defaults for everything, cannot be changed, refuse unknown keys, and say what they mean."""
    return f"{sum(_sound(plugin) for plugin in subject.classes)} settings"


def hardware_settings(subject: Subject) -> str:
    """The same of hardware."""
    assert subject.hardware is not None
    return f"{_sound(subject.hardware)} settings"


def _sound(plugin: type[Plugin]) -> int:
    """Return how many settings a plug-in has; raises ContractError if one of them is not as it must be."""
    name = plugin.__name__
    expect(bool(summary_of(plugin)), f"{name} needs a docstring; its first line is shown by `workbench list`")
    if issubclass(plugin, Rule):
        expect(issubclass(plugin.Config, LearnerConfig), f"{name}.Config must derive from LearnerConfig")
    try:
        config = plugin.Config()
    except ValidationError as error:
        reason = error.errors()[0]
        where = ".".join(map(str, reason["loc"]))
        raise ContractError(
            f"every setting of {name} needs a valid default; {where}: {reason['msg']}"
        ) from error
    expect(bool(config.model_config.get("frozen")), f"{name}.Config must be frozen")
    expect(config.model_config.get("extra") == "forbid", f"{name}.Config must forbid unknown keys")
    for key, field in plugin.Config.model_fields.items():
        expect(bool(field.description), f"the setting {key} of {name} needs a description, its help text")
    return len(plugin.Config.model_fields)


def defaults_survive_training(subject: Subject) -> str:
    """Training changes neither the settings given nor the defaults of the next."""
    defaults = [plugin.Config().model_dump() for plugin in subject.classes]
    with tempfile.TemporaryDirectory() as folder:
        experiment, _ = run(subject, Path(folder) / "run")
    given = [experiment.rule.config, *(modifier.config for modifier in experiment.modifiers)]
    for plugin, before, config in zip(subject.classes, defaults, given, strict=True):
        for now in (config.model_dump(), plugin.Config().model_dump()):
            changed = [key for key in before if now[key] != before[key]]
            expect(
                not changed,
                f"training must not change settings; {plugin.__name__} changed {', '.join(changed)}",
            )
    return "as before"
