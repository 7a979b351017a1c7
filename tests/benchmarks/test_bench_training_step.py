"""Loops, learners and naive traces compute the same; the command runs at tiny sizes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import contenders
from benchmarks.contenders import BPTT, Contenders
from benchmarks.naive_traces import FORMS
from benchmarks.options import learners
from benchmarks.plain_loop import CellLoop, PlainLoop
from benchmarks.training_step import default_learners, main, summary
from benchmarks.workload import Sizes

SIZES = Sizes(inputs=40, hidden=(24, 16), classes=5, steps=20, batch=6)
TINY = ["--inputs", "20", "--hidden", "8,8", "--classes", "3", "--steps", "6", "--batch", "4"]
RECORD = {
    "name", "ratio", "to_bptt", "to_naive", "ms", "middle_half", "rounds", "backbone", "recurrent", "hidden",
    "steps", "batch",
}  # fmt: skip


def run(*arguments: str) -> int:
    """Run the command with one thread, and give torch its threads back."""
    threads = torch.get_num_threads()
    try:
        return main([*TINY, "--threads", "1", *arguments])
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("backbone", contenders.BACKBONES)
def test_loops_and_bptt_have_the_same_losses_and_the_units_act(backbone: str, recurrent: bool) -> None:
    if backbone == "lru" and recurrent:
        pytest.skip("refused, see below")
    bench = Contenders(SIZES, backbone, recurrent)
    with torch.no_grad():
        rates = [float(layer.abs().mean()) for layer in bench.network.run(bench.floats).spikes]
    assert min(rates) > 0
    loop, ours = bench.first_losses()
    assert loop == pytest.approx(ours, abs=1e-5)
    assert loop[2] < loop[0]
    hoisted = bench.hoisted_loop()
    assert [hoisted() for _ in range(3)] == pytest.approx(loop, abs=1e-5)


@pytest.mark.parametrize("recurrent", [False, True])
def test_the_loop_over_a_cells_step_is_the_loop_written_out(recurrent: bool) -> None:
    bench = Contenders(SIZES, "lif", recurrent)
    written, over = PlainLoop(bench.network), CellLoop(bench.network)
    for loop in (written, over):
        loop(bench.floats).square().sum().backward()
    torch.testing.assert_close(over(bench.floats), written(bench.floats))
    for layer, weight in zip(over.network.layers, written.inputs, strict=True):
        torch.testing.assert_close(layer.synapse.weight.grad, weight.grad)


def test_our_learners_are_given_counts_and_the_loops_numbers() -> None:
    bench = Contenders(SIZES)
    assert bench.learner(BPTT).batch.inputs.dtype == torch.uint8
    assert bench.loop().inputs.dtype == torch.float32
    assert torch.equal(bench.loop().inputs, bench.learner(BPTT).batch.inputs.float())


def test_everyone_has_the_same_optimiser() -> None:
    bench = Contenders(SIZES)
    ours, theirs = bench.learner(BPTT).optimiser, bench.loop().optimiser
    assert type(ours) is type(theirs) is torch.optim.Adam
    assert ours.defaults == theirs.defaults


def test_another_function_than_the_loop_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(contenders.BACKBONES["lif"], "backbone.decay", "0.9")
    with pytest.raises(AssertionError, match="do not compute the same"):
        Contenders(SIZES).first_losses()


@pytest.mark.parametrize("form", FORMS)
def test_naive_traces_give_the_gradient_of_osttp(form: str) -> None:
    bench = Contenders(SIZES)
    step = bench.naive(form)
    before = step.step.network.readout.synapse.weight.detach().clone()
    step()
    assert not torch.equal(before, step.step.network.readout.synapse.weight)


def test_wrong_naive_traces_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.naive_traces.DECAY", 0.9)
    with pytest.raises(AssertionError):
        Contenders(SIZES).naive("synaptic")


def test_the_command_writes_ratios_and_tells_what_it_skips(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.peers.installed", lambda: ([], ["snntorch", "norse"]))
    file = tmp_path / "step.json"
    asked = "osttp,osttp:backbone.reset=hard"
    assert (
        run("--rounds", "2", "--peers", "--naive", "--update-step", "--learner", asked, "--json", str(file))
        == 0
    )
    records = json.loads(file.read_text())
    names = ["torch-loop", "hoisted-loop", "bptt", "osttp", "osttp:backbone.reset=hard", "osttp:update=step"]
    assert [record["name"] for record in records] == [*names, *(f"naive-{form}" for form in FORMS)]
    by_name = {record["name"]: record for record in records}
    assert by_name["torch-loop"]["ratio"] == by_name["bptt"]["to_bptt"] == 1.0
    assert by_name["naive-synaptic"]["to_naive"] == 1.0
    assert all(set(record) == RECORD and record["ms"] > 0 for record in records)
    printed = capsys.readouterr().out
    assert "skipping norse: not installed" in printed
    assert "first three losses" in printed
    assert "osttp:backbone.reset=hard takes" in printed


def test_several_lengths_and_batches_give_a_table_each_and_a_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "step.json"
    assert (
        run(
            "--rounds", "1", "--learner", "sltt:steps=T/2", "--steps", "4,6", "--batch", "1,2",
            "--backbone", "ssnu", "--naive", "--peers", "--json", str(file),
        )
        == 0
    )  # fmt: skip
    records = json.loads(file.read_text())
    places = [(4, 1), (4, 2), (6, 1), (6, 2)]
    assert [(r["steps"], r["batch"]) for r in records if r["name"] == "sltt:steps=T/2"] == places
    assert {r["to_naive"] for r in records} == {None}
    printed = capsys.readouterr().out
    assert "skipping naive traces" in printed
    assert "skipping the peers" in printed
    assert printed.count("one training step") == 4
    lines = summary(records).splitlines()
    assert lines[0].split()[-8:] == ["T=4", "B=1", "T=4", "B=2", "T=6", "B=1", "T=6", "B=2"]
    assert len(lines) == 1 + len({r["name"] for r in records})
    assert summary(records) in printed


def test_recurrent_layers(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--recurrent", "--rounds", "1", "--learner", "bptt,ostl") == 0
    assert "recurrent 20-8-8-3" in capsys.readouterr().out


@pytest.mark.parametrize("backbone", contenders.BACKBONES)
def test_every_default_learner_runs(backbone: str) -> None:
    bench = Contenders(Sizes(10, (6, 5), 3, 5, 2), backbone)
    for choice in default_learners(backbone, (6, 5)):
        first = bench.learner(choice)()
        assert first == pytest.approx(first)
        assert first < float("inf")


def test_units_have_a_decay_each_where_that_is_asked_for() -> None:
    choice = next(c for c in default_learners("lif", (24, 16)) if "decay_values" in c.name)
    network = Contenders(SIZES).learner(choice).network
    for layer in network.hidden:
        assert len(layer.cell_parameters()["decay"].unique()) == layer.units


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--learner", "bptx"], "bptx"),
        (["--learner", "sltt:stepz=2"], "stepz"),
        (["--backbone", "lru", "--recurrent"], "lru has no recurrent synapses"),
    ],
)
def test_wrong_settings_are_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--rounds", "1", *arguments) == 2
    assert said in capsys.readouterr().err


def test_the_quarter_of_the_steps_follows_the_length() -> None:
    (choice,) = learners("sltt:steps=T/4")
    assert Contenders(SIZES).config(choice).learner.rule.config.steps == 5
