"""A wait ends at the mark, whatever the process does afterwards, and ratios compare the same round."""

from __future__ import annotations

import pytest

from benchmarks.startup import CLOCKS, FIRST_STEP, IMPORTS, MARK, Wait, fresh_process, summary


def test_a_wait_ends_at_the_mark() -> None:
    wait = fresh_process(f"print('hello'); {CLOCKS}; time.sleep(0.2); raise SystemExit(3)", (), {})
    assert wait.processor > 0
    assert wait.wall > 0


def test_a_process_that_never_gets_there_is_told_with_its_words() -> None:
    with pytest.raises(RuntimeError, match=r"a=1 ended with 1:\n(.|\n)*no such luck"):
        fresh_process("raise SystemExit('no such luck')", ["a=1"], {})


def test_ratios_are_medians_over_rounds() -> None:
    waits = {
        IMPORTS: [Wait(1.0, 1.0), Wait(2.0, 1.0), Wait(4.0, 1.0)],
        "bptt": [Wait(1.2, 1.5), Wait(2.2, 1.25), Wait(8.0, 1.0)],
    }
    reference, bptt = summary(waits)
    assert reference == {
        "name": IMPORTS,
        "seconds": 2.0,
        "processor_seconds": 1.0,
        "ratio": 1.0,
        "processor_ratio": 1.0,
    }
    assert (bptt["seconds"], bptt["processor_seconds"]) == (2.2, 1.25)
    assert (bptt["ratio"], bptt["processor_ratio"]) == (1.2, 1.25)


def test_the_first_step_ends_a_run_in_good_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    import workbench.cli.run as command

    monkeypatch.chdir(str(tmp_path))
    monkeypatch.setattr(command, "_terminal", command._terminal)
    settings = ["scenario=split-digits", "scenario.bins=2", "learner=bptt", "track.mlflow=false", "threads=1"]
    monkeypatch.setattr("sys.argv", ["-c", *settings])
    with pytest.raises(SystemExit) as ended:
        exec(FIRST_STEP, {})
    assert ended.value.code == 130
    told = capsys.readouterr().out
    assert told.count(MARK) == 1
    # The page at the end comes after the mark.
    assert told.index(MARK) < told.index("workbench list")
