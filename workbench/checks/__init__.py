"""Conformance of a learner or of hardware, checked on small made-up data in a minute.

    from workbench.checks import check_learner
    assert all(result.passed for result in check_learner("my-rule"))

A modifier is checked together with its default rule; `rule+modifier+...` checks a combination. Defaults are used
throughout, so a setting that changes the behaviour wants tests of its own. `check_hardware` holds devices to theirs,
under every rule and every backbone that is installed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

from workbench.checks import devices, settings, steps, whole_runs
from workbench.checks.subject import ContractError, Subject
from workbench.plugin import Hardware
from workbench.registry import Registry

__all__ = ["CHECKS", "HARDWARE_CHECKS", "CheckResult", "check_hardware", "check_learner"]

CHECKS: dict[str, Callable[[Subject], str]] = {
    "settings": settings.frozen_with_valid_defaults,
    "gradients": steps.gradients_are_finite,
    "one sequence": steps.one_sequence,
    "one step": steps.one_step,
    "class mask": steps.class_mask_is_respected,
    "random streams": steps.draws_from_its_streams_alone,
    "no leak": steps.nothing_leaks_between_batches,
    "state": steps.state_round_trip,
    "backbones": steps.every_backbone,
    "memory": whole_runs.memory_formula,
    "two tasks": whole_runs.two_tasks,
    "repetition": whole_runs.repetition,
    "resume": whole_runs.resume,
    "empty task": whole_runs.empty_task,
    "defaults": settings.defaults_survive_training,
}
"""Checks by name; each returns a detail, or raises `ContractError` saying what was expected."""

HARDWARE_CHECKS: dict[str, Callable[[Subject], str]] = {
    "settings": settings.hardware_settings,
    "rules": devices.every_rule,
    "backbones": devices.every_backbone,
    "what is read": devices.parameters_show_what_is_read,
    "tiles": devices.behind_tiles,
    "two tasks": whole_runs.two_tasks,
    "repetition": whole_runs.repetition,
    "resume": whole_runs.resume,
    "empty task": whole_runs.empty_task,
}
"""The same of hardware; whole runs are those of `devices.LEARNER`."""


@dataclass(frozen=True)
class CheckResult:
    """Whether a plug-in passed one check; `detail` says what was seen or, if it failed, what was expected."""

    name: str
    passed: bool
    detail: str


def check_learner(name: str, registry: Registry | None = None) -> list[CheckResult]:
    """Return the result of every check of the learner `name`; a learner without valid defaults fails the first alone.

    Raises PluginError when the learner is unknown or does not load.
    """
    return _all(CHECKS, Subject.find(name, registry or Registry.discover()))


def check_hardware(name: str, registry: Registry | None = None) -> list[CheckResult]:
    """Return the result of every check of the hardware `name`; without valid defaults it fails the first alone.

    Raises PluginError when it is unknown or does not load.
    """
    registry = registry or Registry.discover()
    hardware = registry.load("hardware", name)
    assert issubclass(hardware, Hardware)
    return _all(HARDWARE_CHECKS, replace(Subject.find(devices.LEARNER, registry), hardware=hardware))


def _all(checks: dict[str, Callable[[Subject], str]], subject: Subject) -> list[CheckResult]:
    results = []
    for title, check in checks.items():
        results.append(_checked(title, check, subject))
        if title == "settings" and not results[0].passed:
            break
    return results


def _checked(title: str, check: Callable[[Subject], str], subject: Subject) -> CheckResult:
    try:
        with warnings.catch_warnings():
            # Judged is what the learner does, whatever filters the caller has set.
            warnings.simplefilter("ignore")
            return CheckResult(title, True, check(subject))
    except ContractError as broken:
        return CheckResult(title, False, str(broken))
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        return CheckResult(title, False, f"raised {type(error).__name__}: {first}")
