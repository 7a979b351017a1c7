"""Peak memory: what is measured agrees with the formula; slope and flatness are what they say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.memory import Point, flatness, in_fresh_process, main, measure, parser, slope

needs_proc = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux only")
TINY = ["--inputs", "10", "--hidden", "8", "--classes", "3", "--batch", "4", "--learner", "osttp"]


def points(*peaks: float) -> list[Point]:
    return [Point("osttp", 100 * (n + 1), peak, 0.0, 0.0, 0.0) for n, peak in enumerate(peaks)]


def test_slope_and_flatness() -> None:
    assert slope(points(10.0, 20.0, 30.0)) == pytest.approx(0.1)
    assert slope(points(10.0)) == 0.0
    assert flatness(points(10.0, 10.2, 10.1)) == pytest.approx(2.0)


@needs_proc
@pytest.mark.parametrize("learner", ["bptt", "osttp"])
def test_formula_and_live_tensors_agree(learner: str) -> None:
    threads = torch.get_num_threads()
    try:
        point = measure(parser().parse_args([*TINY, "--learner", learner, "--steps", "60"]))
    finally:
        torch.set_num_threads(threads)
    assert point.steps == 60
    assert point.live == pytest.approx(point.formula, rel=0.05)
    assert point.baseline > 10


@needs_proc
def test_the_other_process_is_quoted_when_it_fails() -> None:
    options = parser().parse_args([*TINY, "--set", "learner.chunk=none"])
    with pytest.raises(RuntimeError, match=r"osttp at T=5 failed(.|\n)*learner.chunk"):
        in_fresh_process(options, "osttp", 5)


def test_elsewhere_than_on_linux_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Path, "exists", lambda self: False)
    assert main(TINY) == 2
    assert "Linux" in capsys.readouterr().err
