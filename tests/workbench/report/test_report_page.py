"""The page as text: the same every time, all in one file, nothing of a study taken for markup."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fixtures.compared import write_run
from fixtures.reported import write_group, write_groups

from workbench import cli
from workbench.report import page, pictures
from workbench.report.study import read_study

Report = Callable[..., str]


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Report:
    """Return the page of a folder, without the program that draws charts."""
    monkeypatch.setattr(pictures, "program", lambda cache=None: "/* program */")
    return lambda folder: page.render(read_study([folder]))


def payload(text: str) -> dict[str, object]:
    """Return the data of a page's charts."""
    found = re.search(r'<script type="application/json" id="payload">(.*?)</script>', text, re.DOTALL)
    assert found
    content: dict[str, object] = json.loads(found[1])
    return content


def test_the_same_study_gives_the_same_page(report: Report, tmp_path: Path) -> None:
    write_groups(tmp_path / "study", ["bptt", "osttp"], ["class"])
    first = report(tmp_path / "study")
    assert report(tmp_path / "study") == first
    # In another process too, where hashes of texts differ.
    program = (
        "import sys; from pathlib import Path; from workbench.report import page, pictures; "
        "from workbench.report.study import read_study; pictures.program = lambda cache=None: '/* program */'; "
        "sys.stdout.reconfigure(encoding='utf-8'); print(page.render(read_study([Path(sys.argv[1])])), end='')"
    )
    other = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "study")], capture_output=True, check=True
    )
    assert other.stdout.decode() == first


def test_every_question_is_answered_for_every_protocol(report: Report, tmp_path: Path) -> None:
    text = report(write_groups(tmp_path / "study", ["bptt", "osttp"]))
    titles = re.findall(r"<h2>(.*?)</h2>|<h3>(.*?)</h3>", text)
    questions = [
        "Accuracy over tasks",
        "What is kept",
        "Forgetting and its price in memory",
        "Memory",
        "Gradient alignment",
        "Activity",
        "Dormant units",
        "Time, operations, energy, writes",
    ]
    protocols = [f"split-digits on digits, setting={setting}" for setting in ("class", "task")]
    expected = [title for protocol in protocols for title in (protocol, *questions)]
    assert [one or other for one, other in titles] == [*expected, "Where and with what", "Run it again"]
    figures = re.findall(r'<figure id="([\w-]+)"', text)
    assert len(figures) == 26
    assert list(payload(text)["charts"]) == figures  # type: ignore[call-overload]
    assert text.count('<noscript><div class="picture"') == text.count('class="marks"') == len(figures)
    assert 'class="missing"' not in text
    assert "workbench verify" in text


def test_nothing_is_fetched(report: Report, tmp_path: Path) -> None:
    text = report(write_groups(tmp_path / "study", ["bptt"], ["class"]))
    assert "default-src 'none'" in text
    assert not re.search(r"(?:src|href|action|data)=[\"'](?!#|data:)", text)
    assert not re.search(r"url\((?!#)", text)
    assert "@import" not in text


def test_what_runs_say_is_text_and_never_markup(report: Report, tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u2028'\""
    data = {"name": evil, "synthetic": True, "digest": "d", "notice": evil}
    write_group(tmp_path / "study", "bptt", 0, dataset=data, tasks=[evil, "2"])
    write_run(tmp_path / "study" / "bad", status="failed", error=evil)
    text = report(tmp_path / "study")
    assert "<script>alert" not in text
    assert "<img" not in text
    assert text.count("</script>") == 3
    assert html.escape(evil, quote=False).split("&gt;")[0] in text
    charts = json.dumps(payload(text), ensure_ascii=False)
    assert json.dumps(evil, ensure_ascii=False)[1:-1] in charts


def test_synthetic_data_is_said_at_the_top(report: Report, tmp_path: Path) -> None:
    data = {"name": "spoken", "synthetic": True, "digest": "d", "notice": "It says nothing of speech."}
    write_group(tmp_path / "study", "bptt", 0, dataset=data)
    text = report(tmp_path / "study")
    notice = text.index(
        '<p class="warning" role="note">SYNTHETIC DATA (spoken): It says nothing of speech.</p>'
    )
    assert notice < text.index("<table")


def test_the_table_is_that_of_the_comparison(report: Report, tmp_path: Path) -> None:
    write_group(tmp_path / "study", "bptt", 0)
    write_group(tmp_path / "study", "osttp", 5)
    text = report(tmp_path / "study")
    [row] = re.findall(r'<tr data-group="osttp">(.*?)</tr>', text.split("</table>")[0], re.DOTALL)
    cells = [re.sub(r"<.*?>", "", cell).strip() for cell in row.split("\n") if cell.strip()]
    assert cells[:3] == ["osttp", "3", "68.0 ± 1.2"]
    # Five times the memory, and certain of it: the other group's cell is marked.
    assert re.search(r'<tr data-group="bptt">.*?class="best"', text, re.DOTALL)


def test_the_program_is_kept_and_fits_a_script_element(program_cache: Path) -> None:
    text = pictures.program(program_cache)
    [file] = (program_cache / "report").iterdir()
    assert "vegaEmbed=" in text
    assert "</script" not in text
    whole = file.read_bytes()
    file.write_bytes(whole[:1000])
    assert pictures.program(program_cache) == text
    assert file.read_bytes() == whole


def test_the_command_writes_beside_the_runs_or_where_it_is_told(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_groups(tmp_path / "study", ["bptt"], ["class"])
    monkeypatch.chdir(tmp_path)
    assert cli.main(["report", "study"]) == 0
    assert capsys.readouterr().out.startswith("study/report.html (")
    # A page in the folder is no run, and changes nothing.
    assert cli.main(["report", "study", "--out", "pages/other.html"]) == 0
    assert (tmp_path / "pages" / "other.html").read_bytes() == (study / "report.html").read_bytes()
    runs = [f"study/bptt-class-seed{seed}" for seed in (0, 1)]
    assert cli.main(["report", *runs]) == 0
    assert (tmp_path / "report.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["empty"], "empty holds no run"),
        (["study", "--out", "empty"], "empty: is a folder"),
        (["study", "--out", "page.pdf"], "name one, page.html"),
        (["study", "--out", "study.yaml/page.html"], "cannot be written"),
        (["study", "other"], "not comparable"),
        ([], "Missing argument"),
    ],
)
def test_misuse_is_explained(
    arguments: list[str],
    complaint: str,
    report: Report,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_groups(tmp_path / "study", ["bptt"], ["class"])
    write_run(
        tmp_path / "other" / "a", dataset={"name": "other", "synthetic": False, "digest": "d2", "notice": ""}
    )
    (tmp_path / "empty").mkdir()
    (tmp_path / "study.yaml").write_text("no folder")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["report", *arguments]) == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "page.pdf").exists()
