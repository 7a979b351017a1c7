"""Streaming: an update at every step, one stamp each; latencies are what lies between; the command runs."""

from __future__ import annotations

import argparse
import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from benchmarks.options import learners
from benchmarks.streaming import Stream, configured, main, operators, parser, parts, result
from benchmarks.workload import Sizes

TINY = ["--inputs", "12", "--hidden", "8", "--classes", "3", "--steps", "5", "--threads", "1"]
SIZES = Sizes(12, (8,), 3, 5, 1)


@pytest.fixture
def options() -> argparse.Namespace:
    return parser().parse_args(TINY)


def stream(options: argparse.Namespace, text: str = "osttp", optimiser: str = "sgd") -> Stream:
    (choice,) = learners(text)
    return Stream(configured(choice, optimiser, options), SIZES)


@pytest.mark.parametrize("learner", ["osttp", "ostl", "eprop", "ottt", "sltt"])
def test_weights_change_at_every_step(options: argparse.Namespace, learner: str) -> None:
    streaming = stream(options, learner, "adam")
    weights = []
    update = streaming._update

    def noted() -> None:
        update()
        weights.append(streaming.network.readout.synapse.weight.detach().clone())

    streaming.rule.context.update = noted
    streaming.sequence()
    assert len(weights) == len(streaming.stamps) == SIZES.steps
    assert all(not torch.equal(a, b) for a, b in pairwise(weights))


def test_latencies_lie_between_updates_and_whole_sequences_are_streamed(options: argparse.Namespace) -> None:
    streaming = stream(options)
    ticks = iter(range(1000))
    streaming.clock = lambda: float(next(ticks))
    times = streaming.sustain(7)
    assert times == [1.0] * 10


def test_settings_of_a_learner_outdo_those_of_the_benchmark(options: argparse.Namespace) -> None:
    streaming = stream(options, "osttp:optimiser=sgd;backbone.reset=hard", "adam")
    assert isinstance(streaming.optimiser, torch.optim.SGD)
    assert streaming.network.hidden[0].cell.reset == "hard"


def test_what_is_told_of_the_times() -> None:
    told = result("osttp", "sgd", [0.001] * 98 + [0.002, 0.1])
    assert told.steps_per_second == pytest.approx(100 / 0.2)
    assert (told.p50_ms, told.max_ms, told.steps) == (pytest.approx(1.0), pytest.approx(100.0), 100)
    assert told.p50_ms < told.p99_ms < told.max_ms


def test_the_profile_names_parts_and_operators(options: argparse.Namespace) -> None:
    streaming = stream(options)
    streaming.sequence()
    by_part = parts(streaming)
    assert {"layers forward", "optimiser step", "gradients cleared"} < set(by_part)
    assert all(value > 0 for value in by_part.values())
    names = {name for name, _, _ in operators(streaming)}
    assert any(name.startswith("aten::") for name in names)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    file = tmp_path / "streaming.json"
    try:
        assert main([*TINY, "--seconds", "0.01", "--learner", "osttp,sltt", "--json", str(file)]) == 0
        assert main([*TINY, "--learner", "bptt"]) == 2
    finally:
        torch.set_num_threads(threads)
    records = json.loads(file.read_text())
    order = [(record["name"], record["optimiser"]) for record in records]
    assert order == [("osttp", "adam"), ("osttp", "sgd"), ("sltt", "adam"), ("sltt", "sgd")]
    assert all(record["steps_per_second"] > 0 for record in records)
    printed = capsys.readouterr()
    assert "osttp, adam" in printed.out
    assert "update" in printed.err
