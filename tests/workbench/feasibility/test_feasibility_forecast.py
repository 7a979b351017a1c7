"""What a study is going to take, told before anything is run."""

from __future__ import annotations

import pytest
from fixtures.feasible import request, usual, write_study

from workbench.feasibility.forecast import forecast
from workbench.feasibility.plan import plan_of
from workbench.sweep import estimate


@pytest.fixture
def timed(monkeypatch):
    """The configurations that were timed; each is said to take ten seconds, 30 on devices."""
    found = []

    def seconds(config, threads):
        found.append((config.learner.name, config.hardware.name))
        return 10.0 if config.hardware.name == "ideal" else 30.0

    monkeypatch.setattr(estimate, "expected_seconds", seconds)
    return found


def test_runs_are_counted_once_and_timed_by_learner_and_device(timed, registry, tmp_path):
    plan = plan_of(
        request("learner=osttp,bptt", "hardware=pcm", "seed=0,1", only=["bits", "noise"]), registry
    )
    main, bits, noise = forecast(plan, tmp_path / "study", 1)
    assert (main.title, main.values, main.runs, main.left) == ("as they are", "ideal, pcm", 8, 8)
    assert main.seconds == 4 * 10 + 4 * 30
    assert (bits.title, bits.runs, bits.seconds) == ("quantised: bits of a weight", 28, 28 * 30)
    # One of five is the device as it is.
    assert (noise.runs, noise.left, noise.values) == (16, 16, "×0, ×0.5, ×1, ×2, ×4")
    assert sorted(timed) == sorted(
        (learner, device) for learner in ("osttp", "bptt") for device in ("ideal", "pcm", "quantised")
    )
    assert not (tmp_path / "study").exists()


def test_what_is_finished_is_neither_left_nor_timed(timed, registry, tmp_path):
    wanted = request("learner=osttp,bptt", "hardware=pcm", "seed=0,1", only=["noise"])
    write_study(tmp_path / "study", wanted, lambda place: usual(place) if place.axis is None else None)
    main, noise = forecast(plan_of(wanted, registry), tmp_path / "study", 1)
    assert (main.left, main.seconds) == (0, 0)
    # Finished runs of the same learner on the same device took 7 s each.
    assert (noise.left, noise.seconds) == (16, 16 * 7.0)
    assert timed == []
