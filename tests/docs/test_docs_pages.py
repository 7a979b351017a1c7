"""Every page of documentation: links lead somewhere, nothing is left unlisted, settings told are those of the code."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from workbench.config import resolve
from workbench.fields import describe_fields
from workbench.registry import Registry

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "benchmarks" / "RESULTS.md"])
PROTOCOLS = (ROOT / "docs" / "protocols.md").read_text(encoding="utf-8")
REGISTRY = Registry.discover()
SCENARIOS = [entry.name for entry in REGISTRY.entries("scenario") if entry.package == "continual-workbench"]


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def tokens(path):
    parser = MarkdownIt("commonmark", {"linkify": False}).enable(["table", "strikethrough"])
    return parser.parse(path.read_text(encoding="utf-8"))


def anchors(path):
    """Return the anchors of a page's headings as GitHub makes them."""
    found = []
    parsed = tokens(path)
    for opening, inline in pairwise(parsed):
        if opening.type != "heading_open":
            continue
        title = "".join(child.content for child in inline.children)
        anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        same = [old for old in found if re.fullmatch(rf"{re.escape(anchor)}(-\d+)?", old)]
        found.append(f"{anchor}-{len(same)}" if same else anchor)
    return found


def links(path):
    for token in tokens(path):
        for child in token.children or []:
            target = child.attrs.get("href") or child.attrs.get("src")
            if target:
                yield target


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_lead_to_files_and_headings(path):
    for link in links(path):
        if re.match(r"https?://", link):
            continue
        assert not link.startswith(("/", "file:")), link
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.is_relative_to(ROOT), link
        assert target.exists(), f"{name_of(path)}: {link} leads nowhere"
        if anchor:
            assert anchor in anchors(target), f"{name_of(path)}: {link}: no such heading"


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_a_page_has_one_title_and_closed_tables(path):
    parsed = tokens(path)
    assert [token.tag for token in parsed if token.type == "heading_open"].count("h1") == 1
    for table in re.findall(r"(?:^\|.*\n)+", path.read_text(encoding="utf-8"), re.MULTILINE):
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(cells) == 1, table.splitlines()[0]


def test_the_index_lists_every_page():
    listed = {
        (ROOT / "docs" / link.partition("#")[0]).resolve() for link in links(ROOT / "docs" / "README.md")
    }
    pages = {path for path in (ROOT / "docs").glob("*.md") if path.name != "README.md"}
    assert pages | {ROOT / "docs" / "learners" / "README.md"} <= listed
    assert set((ROOT / "notebooks").glob("*.ipynb")) <= listed
    learners = {
        (ROOT / "docs/learners" / link.partition("#")[0]).resolve()
        for link in links(ROOT / "docs/learners/README.md")
    }
    assert {path for path in (ROOT / "docs/learners").glob("*.md") if path.name != "README.md"} <= learners


@pytest.mark.parametrize("name", SCENARIOS)
def test_protocols_tell_each_scenarios_defaults(name):
    heading = "n-parity and n-dms" if name in ("n-parity", "n-dms") else name
    [section] = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", PROTOCOLS, re.MULTILINE | re.DOTALL)
    told = re.findall(r"^Defaults(?: of `(\S+)`)?: `(.*)`$", section, re.MULTILINE)
    [words] = [line.split() for whose, line in told if whose in ("", name)]
    scenario = REGISTRY.load("scenario", name)
    fields = {field.key: field.shown_default for field in describe_fields(scenario.Config, "scenario")}
    defaults = {
        "train.epochs": str(scenario.default_epochs),
        "train.batch_size": str(scenario.default_batch_size),
        **fields,
    }
    assert dict(word.split("=", 1) for word in words) == defaults
    resolve([f"scenario={name}", *words])
    for part in ("Data", "Encoding", "Tasks", "Splits", "Measures"):
        assert f"**{part}" in section or f", {part.lower()}" in section, part


def test_commands_and_settings_that_pages_name_exist():
    known = {
        field.key
        for kind in ("scenario", "learner", "backbone")
        for entry in REGISTRY.entries(kind)
        for field in describe_fields(REGISTRY.load(kind, entry.name).Config, kind)
    }
    text = "".join(
        (ROOT / "docs" / page).read_text(encoding="utf-8") for page in ("concepts.md", "protocols.md")
    )
    named = set(re.findall(r"`((?:scenario|learner|backbone)\.[a-z_]+)(?:=[^`]*)?`", text))
    assert named
    assert named <= known
