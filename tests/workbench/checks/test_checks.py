"""The conformance checks pass what keeps the contract and fail what breaks it, each for its own reason."""

from importlib.metadata import EntryPoint

import pytest

from workbench.checks import CHECKS, check_learner
from workbench.errors import PluginError
from workbench.plugin import GROUPS
from workbench.registry import Registration, Registry

LEARNERS = ("sound", "careless", "moody", "exploding", "undecided", "counting", "saving")


@pytest.fixture(scope="module")
def registry():
    """Return what is installed, and the learners made for these tests."""
    made = [
        Registration(
            "learner",
            EntryPoint(name, f"fixtures.broken_learners:{name.title()}", GROUPS["learner"]),
            "fixtures",
            "1.0",
        )
        for name in LEARNERS
    ]
    return Registry((*Registry.discover().registrations, *made))


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
