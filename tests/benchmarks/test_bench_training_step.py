"""The hand-written loop computes what the workbench computes; the command runs at tiny sizes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import training_step
from benchmarks.training_step import Bench, main
from benchmarks.workload import Sizes

SIZES = Sizes(inputs=40, hidden=(24, 16), classes=5, steps=20, batch=6)


@pytest.mark.parametrize("recurrent", [False, True])
def test_loop_and_bptt_have_the_same_losses_and_the_units_fire(recurrent: bool) -> None:
    bench = Bench(SIZES, recurrent)
    with torch.no_grad():
        rates = [float(layer.mean()) for layer in bench.network.run(bench.inputs).spikes]
    assert min(rates) > 0
    loop, ours = bench.first_losses()
    assert loop == pytest.approx(ours, abs=1e-5)
    assert loop[2] < loop[0]


def test_another_function_than_the_loop_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(training_step.LOOP_BACKBONE, "backbone.decay", "0.9")
    with pytest.raises(AssertionError, match="do not compute the same"):
        Bench(SIZES, recurrent=False).first_losses()


def test_naive_traces_give_the_gradient_of_osttp() -> None:
    bench = Bench(SIZES, recurrent=False)
    before = bench.network.readout.synapse.weight.detach().clone()
    step = bench.naive_trace()
    step()
    assert not torch.equal(before, step.step.network.readout.synapse.weight)


def test_wrong_naive_traces_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.plain_loop.DECAY", 0.9)
    with pytest.raises(AssertionError):
        Bench(SIZES, recurrent=False).naive_trace()


def test_the_command_writes_ratios_and_tells_what_it_skips(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_step, "installed", lambda: ([], ["snntorch", "norse"]))
    file = tmp_path / "step.json"
    threads = torch.get_num_threads()
    sizes = ["--inputs", "20", "--hidden", "8,8", "--classes", "3", "--steps", "6", "--batch", "4"]
    more = ["--rounds", "2", "--threads", "1", "--peers", "--naive", "--update-step", "--json", str(file)]
    try:
        assert main([*sizes, *more]) == 0
    finally:
        torch.set_num_threads(threads)
    records = json.loads(file.read_text())
    names = ["torch-loop", "bptt", "osttp", "osttp-hard-reset", "osttp-update-step", "naive-trace"]
    assert [record["name"] for record in records] == names
    assert records[0]["ratio"] == 1.0
    assert all(set(record) == {"name", "ratio", "ms"} and record["ms"] > 0 for record in records)
    printed = capsys.readouterr().out
    assert "skipping norse: not installed" in printed
    assert "first three losses agree" in printed


def test_an_unknown_learner_is_refused_with_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    try:
        assert main(["--learner", "bptx", "--hidden", "4", "--inputs", "4", "--threads", "1"]) == 2
    finally:
        torch.set_num_threads(threads)
    assert "bptx" in capsys.readouterr().err
