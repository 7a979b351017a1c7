"""The grammar of `--learner`, and what is refused with its reason."""

from __future__ import annotations

import argparse

import pytest

from benchmarks.options import LearnerChoice, learners


def test_rules_with_and_without_settings() -> None:
    text = "bptt, osttp:chunk=50;backbone.reset=hard,eprop:backbone.decay=[0.9,0.98],ostl"
    assert learners(text) == (
        LearnerChoice("bptt", "bptt"),
        LearnerChoice(
            "osttp:chunk=50;backbone.reset=hard", "osttp", (("chunk", "50"), ("backbone.reset", "hard"))
        ),
        LearnerChoice("eprop:backbone.decay=[0.9,0.98]", "eprop", (("backbone.decay", "[0.9,0.98]"),)),
        LearnerChoice("ostl", "ostl"),
    )


def test_a_key_without_a_dot_is_the_learners_and_t_is_the_length() -> None:
    (choice,) = learners("sltt:steps=T/4;rescale=true;backbone.reset=hard")
    assert choice.overrides(1000) == {
        "learner.steps": "250",
        "learner.rescale": "true",
        "backbone.reset": "hard",
    }
    assert choice.overrides(2)["learner.steps"] == "1"
    assert learners("sltt:steps=T")[0].overrides(7) == {"learner.steps": "7"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("bptt,,osttp", "empty"),
        (":steps=2", "no learner"),
        ("sltt:steps", "KEY=VALUE"),
        ("sltt:steps=2;", "KEY=VALUE"),
        ("sltt:", "KEY=VALUE"),
        ("osttp+ewc", "without modifiers"),
        ("bptt,bptt", "twice"),
    ],
)
def test_what_is_wrong_is_said(text: str, reason: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=reason):
        learners(text)
