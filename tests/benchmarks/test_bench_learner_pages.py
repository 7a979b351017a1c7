"""The learners' pages: committed is what docstrings, settings and runs say; Markdown mangles no equation."""

import inspect
import re
import shlex

import pytest
from markdown_it import MarkdownIt

from benchmarks import combinations, learner_pages
from benchmarks.markdown import escaped, prose, table
from workbench.config import resolve
from workbench.plugin import Modifier, Rule
from workbench.registry import Registry
from workbench.report.units import size

REGISTRY = Registry.discover()
NAMES = [name for base in (Rule, Modifier) for name in combinations.own(REGISTRY, base)]
WRITE = "out of date; run: python -m benchmarks.learner_pages --write"
NOTHING = learner_pages.Memory({"total": 0}, {"total": 0}, {})


def committed(name):
    return (learner_pages.FOLDER / name).read_text()


def without_memory(text):
    text = re.sub(r"(?<=\n## Memory\n).*?(?=\n## )", "", text, flags=re.DOTALL)
    return re.sub(r"[\d.]+ (B|[KMG]iB) \|$", "|", text, flags=re.MULTILINE)


def words_of(text):
    """Return the words that a reader of the rendered page sees."""
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    shown = []
    for token in parser.parse(text):
        assert not token.type.startswith(("heading", "html", "blockquote")), token
        if token.type == "fence":
            shown.append(token.content)
        for child in token.children or []:
            assert child.type in ("text", "code_inline", "softbreak", "text_special"), child
            shown.append("\n" if child.type == "softbreak" else child.content)
        shown.append("\n")
    return "".join(shown).split()


@pytest.mark.parametrize("name", NAMES)
def test_a_page_says_what_the_learner_says(name):
    kind = REGISTRY.load("learner", name)
    tables = combinations.recorded(combinations.DOCUMENT.read_text())
    page = learner_pages.page(name, kind, NOTHING, tables)
    assert without_memory(committed(f"{name}.md")) == without_memory(page), f"{name}.md is {WRITE}"


def test_the_index_lists_every_learner_and_no_page_is_left_over():
    kinds = {name: REGISTRY.load("learner", name) for name in NAMES}
    page = learner_pages.index(kinds, dict.fromkeys(NAMES, NOTHING))
    assert without_memory(committed("README.md")) == without_memory(page), f"README.md is {WRITE}"
    found = {path.name for path in learner_pages.FOLDER.iterdir()}
    assert found == {f"{name}.md" for name in NAMES} | {"README.md"}


@pytest.mark.parametrize("name", combinations.own(REGISTRY, Rule))
def test_a_rules_page_tells_its_formula(name):
    *_, heads, _, values = [line for line in memory_section(name).splitlines() if line.startswith("|")]
    lengths = [int(cell.split("=")[1]) for cell in heads.strip("|").split("|")]
    told = [cell.strip() for cell in values.strip("|").split("|")]
    assert lengths == list(learner_pages.LENGTHS)
    assert told == [size(learner_pages.formula(REGISTRY, name, steps)) for steps in lengths], WRITE


@pytest.mark.parametrize("name", ["osttp", "replay"])
def test_a_page_tells_the_memory_that_a_run_measures(name):
    found = learner_pages.memory(REGISTRY, name)
    tables = combinations.recorded(combinations.DOCUMENT.read_text())
    page = learner_pages.page(name, REGISTRY.load("learner", name), found, tables)
    assert page == committed(f"{name}.md"), WRITE
    assert found.measured["total"] == pytest.approx(found.formula["total"], rel=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_formula_and_measurement_agree_on_every_page(name):
    [total] = re.findall(r"^\| total \|.*\| ([+-]?[\d.]+) % \|$", memory_section(name), re.MULTILINE)
    remark = learner_pages.REMARKS.get(name)
    assert (abs(float(total)) > 5.0) == (remark is not None)
    assert remark is None or remark in memory_section(name)


def memory_section(name):
    [section] = re.findall(r"\n## Memory\n(.*?)\n## ", committed(f"{name}.md"), flags=re.DOTALL)
    return section


@pytest.mark.parametrize("name", NAMES)
def test_markdown_shows_a_docstring_word_for_word(name):
    doc = inspect.cleandoc(inspect.getmodule(REGISTRY.load("learner", name)).__doc__)
    expected = []
    for line in doc.splitlines():
        # Backticks are seen in a block of code alone.
        expected += (line if line.startswith("    ") else line.replace("`", "")).split()
    assert [word for word in words_of(prose(doc)) if word != "-"] == [w for w in expected if w != "-"]


@pytest.mark.parametrize("name", NAMES)
def test_a_docstring_states_an_equation_and_names_a_paper(name):
    text = inspect.getmodule(REGISTRY.load("learner", name)).__doc__
    assert re.search(r"\b(19|20)\d\d\b", text), f"{name}: names no paper"
    assert re.search(r"^    \S.*", text, re.MULTILINE), f"{name}: states no equation"


@pytest.mark.parametrize("name", NAMES)
def test_the_command_of_a_page_resolves(name):
    words = shlex.split(learner_pages.command(name, REGISTRY.load("learner", name)))
    assert words[:2] == ["workbench", "run"]
    assert name in resolve(words[2:]).learner.name.split("+")


def test_marks_are_shown_and_code_is_left_alone():
    text = "a*b* <c> [d](e) _f_ ~~g~~ | h # \\ `i*_` end"
    assert words_of(escaped(text)) == text.replace("`", "").split()


@pytest.mark.parametrize("text", ["+ a", "a\n---", "a\n=", "1. a", "```"])
def test_what_markdown_would_mangle_is_refused(text):
    with pytest.raises(ValueError, match=r"Markdown would|a fence of its own"):
        prose(text)


def test_blocks_and_tables():
    assert prose("a_b\n\n    x\n      y\n\nc") == "a\\_b\n\n```text\nx\n  y\n```\n\nc"
    assert table(("a", "b"), [("1", "2")], numbers=1) == "| a | b |\n| --- | ---: |\n| 1 | 2 |"


def test_the_program_writes_checks_and_prints(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(
        learner_pages, "pages", lambda registry: {"README.md": "index\n", "bptt.md": "page\n"}
    )
    monkeypatch.setattr(learner_pages, "FOLDER", tmp_path / "docs" / "learners")
    assert learner_pages.main(["--check"]) == 1
    assert "--write" in capsys.readouterr().err
    assert learner_pages.main(["--write"]) == 0
    assert learner_pages.main(["--check"]) == 0
    (learner_pages.FOLDER / "gone.md").write_text("left over")
    assert learner_pages.main(["--check"]) == 1
    assert "gone.md" in capsys.readouterr().err
    assert learner_pages.main(["--write"]) == 0
    assert not (learner_pages.FOLDER / "gone.md").exists()
    assert learner_pages.main([]) == 0
    assert "page" in capsys.readouterr().out
