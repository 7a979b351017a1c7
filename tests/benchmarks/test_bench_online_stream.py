"""The benchmark of online streams runs both loops over the same data, each sequence once, in order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import online_stream
from benchmarks.online_stream import parser, stream_of
from workbench.plugin import SequenceBatch


def test_both_loops_see_the_same_batches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[int, list[torch.Tensor]] = {}
    build = online_stream.build_rule

    def watched(config: object) -> object:
        rule = build(config)
        forward = rule.forward

        def noting(batch: SequenceBatch) -> object:
            seen.setdefault(id(rule), []).append(batch.inputs.clone())
            return forward(batch)

        rule.forward = noting
        return rule

    for module in ("benchmarks.online_stream", "benchmarks.seam"):
        monkeypatch.setattr(f"{module}.build_rule", watched)
    file = tmp_path / "online.json"
    threads = torch.get_num_threads()
    sizes = [
        "--learner",
        "bptt",
        "--experiences",
        "3,5",
        "--batch",
        "2",
        "--rounds",
        "1",
        "--channels",
        "4",
        "--steps",
        "3",
    ]
    try:
        assert online_stream.main([*sizes, "--hidden", "3", "--json", str(file)]) == 0
    finally:
        torch.set_num_threads(threads)
    loops = [torch.stack(batches) for batches in seen.values()]
    assert [len(loop) for loop in loops] == [20, 20, 3, 3, 5, 5]
    for bare, trainer in zip(loops[::2], loops[1::2], strict=True):
        assert bare.shape[1:] == (3, 2, 4)
        assert torch.equal(bare, trainer)
    names = [record["name"] for record in json.loads(file.read_text())]
    assert names == ["bptt 3 bare", "bptt 3 trainer", "bptt 5 bare", "bptt 5 trainer"]
    assert "ms an experience" in capsys.readouterr().out


def test_the_stream_is_one_task_in_order() -> None:
    stream = stream_of(parser().parse_args(["--batch", "2", "--channels", "3", "--steps", "2"]), 5)
    assert (len(stream.tasks), len(stream.tasks[0].train), stream.in_order) == (1, 10, True)


def test_an_unknown_learner_is_an_error_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert online_stream.main(["--learner", "bpttt"]) == 2
    assert "did you mean" in capsys.readouterr().err
