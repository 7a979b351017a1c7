"""The conformance checks pass what keeps the contract and fail what breaks it, each for its own reason."""

from dataclasses import replace
from importlib.metadata import EntryPoint

import pytest

from workbench.checks import CHECKS, HARDWARE_CHECKS, check_hardware, check_learner
from workbench.errors import PluginError
from workbench.plugin import GROUPS
from workbench.registry import Registration, Registry

HARDWARE = ("plain", "forgetful", "shaky", "unready")
LEARNERS = ("sound", "careless", "moody", "exploding", "undecided", "counting", "saving")


def registered(kind, names, module):
    """Return what is installed, and what was made for these tests."""
    made = [
        Registration(
            kind, EntryPoint(name, f"fixtures.{module}:{name.title()}", GROUPS[kind]), "fixtures", "1.0"
        )
        for name in names
    ]
    return Registry((*Registry.discover().registrations, *made))


@pytest.fixture(scope="module")
def registry():
    return registered("learner", LEARNERS, "broken_learners")


@pytest.fixture(scope="module")
def devices():
    return registered("hardware", HARDWARE, "broken_hardware")


def failures(name, registry):
    """Return the details of the failed checks by name."""
    return {result.name: result.detail for result in check_learner(name, registry) if not result.passed}


@pytest.mark.parametrize("name", ["bptt", "osttp", "replay", "ewc", "saving"])
def test_what_keeps_the_contract_passes(name, registry):
    results = check_learner(name, registry)
    assert [result.name for result in results] == list(CHECKS)
    assert {result.name: result.detail for result in results if not result.passed} == {}
    assert all(result.detail for result in results)


def test_a_rule_that_breaks_much_is_told_each(registry):
    found = failures("careless", registry)
    broken = {"one sequence", "class mask", "random streams", "memory", "two tasks"}
    # What each rule draws anew can neither be repeated nor resumed.
    assert found.keys() == broken | {"no leak", "state", "repetition", "resume"}
    assert "inside class_mask" in found["class mask"] or "class outside" in found["class mask"]
    assert "global generator of torch" in found["random streams"]
    assert "within 5%" in found["memory"]
    assert "global generator" in found["two tasks"]


def test_hidden_state_is_found(registry):
    found = failures("moody", registry)
    assert found.keys() == {"no leak", "state", "resume"}
    assert "batch before" in found["no leak"]
    assert "state_dict()" in found["state"]


def test_gradients_that_are_no_numbers_are_found(registry):
    found = failures("exploding", registry)
    assert found.keys() >= {"gradients", "one step", "backbones", "two tasks"}
    assert "finite" in found["gradients"]


def test_without_valid_defaults_nothing_else_is_tried(registry):
    [result] = check_learner("undecided", registry)
    assert (result.name, result.passed) == ("settings", False)
    assert "depth" in result.detail


def test_a_modifier_that_does_not_save_its_state_is_found(registry):
    found = failures("counting", registry)
    assert found.keys() == {"resume"}
    assert "state_dict()" in found["resume"]


def test_an_unknown_learner_is_told(registry):
    with pytest.raises(PluginError, match="unknown learner 'osttpp'"):
        check_learner("osttpp", registry)


@pytest.mark.parametrize("name", ["ideal", "plain"])
def test_hardware_that_keeps_the_contract_passes(name, devices):
    results = check_hardware(name, devices)
    assert [result.name for result in results] == list(HARDWARE_CHECKS)
    assert {result.name: result.detail for result in results if not result.passed} == {}
    assert "osttp" in next(result.detail for result in results if result.name == "rules")


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("forgetful", {"resume": "devices must hold"}),
        (
            "shaky",
            {
                "settings": "untold",
            },
        ),
        ("unready", {"rules": "no devices in stock", "backbones": "no devices in stock"}),
    ],
)
def test_hardware_that_breaks_the_contract_is_told(name, broken, devices):
    found = {result.name: result.detail for result in check_hardware(name, devices) if not result.passed}
    assert broken.keys() <= found.keys()
    for check, part in broken.items():
        assert part in found[check]


def test_hardware_that_draws_from_a_global_generator_is_told(devices):
    from fixtures.broken_hardware import Shaky

    from workbench.checks import devices as device_checks
    from workbench.checks.subject import ContractError, Subject

    subject = replace(Subject.find(device_checks.LEARNER, devices), hardware=Shaky)
    with pytest.raises(ContractError, match="global generator of torch"):
        device_checks.every_rule(subject)
    with pytest.raises(ContractError, match="reading twice"):
        device_checks.parameters_show_what_is_read(subject)


def test_hardware_that_fails_behind_tiles_is_told(devices):
    from fixtures.broken_hardware import Plain

    from workbench.checks import devices as device_checks
    from workbench.checks.subject import ContractError, Subject

    class Unconverted(Plain):
        """Devices that nobody has ever read through a converter."""

        def attach(self, network, streams):
            if self.config.adc_bits:
                raise ValueError("no converters in stock")
            return super().attach(network, streams)

    subject = replace(Subject.find(device_checks.LEARNER, devices), hardware=Unconverted)
    with pytest.raises(ContractError, match="no converters in stock"):
        device_checks.behind_tiles(subject)
