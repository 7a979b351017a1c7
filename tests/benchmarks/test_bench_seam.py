"""The seam's benchmark runs both sides on the same batches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import seam
from workbench.plugin import SequenceBatch


def test_bare_loop_and_trainer_see_batches_of_the_same_sizes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, tuple[int, ...]]] = []
    build = seam.build_rule

    def watched(config: object) -> object:
        rule = build(config)
        name, forward = f"{type(rule).__name__}", rule.forward

        def noting(batch: SequenceBatch) -> object:
            seen.append((name, tuple(batch.inputs.shape)))
            return forward(batch)

        rule.forward = noting
        return rule

    monkeypatch.setattr(seam, "build_rule", watched)
    file = tmp_path / "seam.json"
    threads = torch.get_num_threads()
    sizes = ["--learner", "osttp", "--batches", "2", "--rounds", "1", "--channels", "4", "--steps", "3"]
    try:
        assert seam.main([*sizes, "--threads", "1", "--json", str(file)]) == 0
    finally:
        torch.set_num_threads(threads)
    names = [record["name"] for record in json.loads(file.read_text())]
    assert names == ["osttp bare", "osttp trainer", "osttp+replay bare", "osttp+replay trainer"]
    batch = seen[0][1][1]
    # First task alone, then warm-up and one round of two batches for each side; with replay twice the sequences.
    assert [shape[1] for _, shape in seen].count(2 * batch) == 2 * 2 * 2
    assert [shape[1] for _, shape in seen].count(batch) == 2 * 2 * 2 + 2 + 2
    assert "overhead %" in capsys.readouterr().out
