"""The page in a real browser without a window: drawn, quiet, in both themes, on a phone, and without scripts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fixtures.compared import write_run
from fixtures.reported import write_groups

from workbench.report.page import render
from workbench.report.study import read_study

LEARNERS = ("bptt", "sltt", "osttp", "osttp+a-modifier-with-a-rather-long-name")
MANY = (*LEARNERS, *(f"rule{number}" for number in range(6)))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, program_cache: Path) -> dict[str, Path]:
    """A page of few groups and one of many, each with a failed run."""
    found = {}
    for name, learners in (("few", LEARNERS), ("many", MANY)):
        folder = tmp_path_factory.mktemp(name)
        write_groups(folder / "study", learners, ["class"])
        write_run(folder / "study" / "bad", status="failed", error="RuntimeError: a long story " * 20)
        found[name] = folder / "page.html"
        found[name].write_text(render(read_study([folder / "study"]), program_cache), encoding="utf-8")
    return found


@dataclass
class Visit:
    """An open page, what it asked for and what it said."""

    page: Any
    requests: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def draw_all(self) -> int:
        """Scroll through the page until every chart is drawn; returns how many there are."""
        figures = self.page.locator("figure")
        for place in range(figures.count()):
            figures.nth(place).scroll_into_view_if_needed()
            self.page.wait_for_selector(f"#{figures.nth(place).get_attribute('id')} .live[data-state]")
        return int(figures.count())

    def colour(self, selector: str, name: str = "background-color") -> str:
        """Return a colour as the browser computed it."""
        style = "([one, name]) => getComputedStyle(document.querySelector(one)).getPropertyValue(name)"
        return str(self.page.evaluate(style, [selector, name]))


@pytest.fixture
def visit(browser: Any, pages: dict[str, Path]) -> Iterator[Any]:
    """Open a page; closed at the end."""
    contexts = []

    def open_page(name: str = "few", width: int = 1200, scheme: str = "light", scripts: bool = True) -> Visit:
        size = {"width": width, "height": 900}
        context = browser.new_context(viewport=size, color_scheme=scheme, java_script_enabled=scripts)
        contexts.append(context)
        opened = Visit(context.new_page())
        opened.page.on("request", lambda request: opened.requests.append(request.url))
        opened.page.on("console", lambda message: opened.messages.append(message.text))
        opened.page.on("pageerror", lambda error: opened.messages.append(str(error)))
        opened.page.goto(pages[name].as_uri())
        return opened

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("name", ["few", "many"])
def test_every_chart_is_drawn_without_a_word_or_a_request(
    name: str, visit: Any, pages: dict[str, Path]
) -> None:
    opened = visit(name)
    count = opened.draw_all()
    assert count == 13
    assert opened.page.locator(".live[data-state=drawn]").count() == count
    for figure in opened.page.locator("figure .live").all():
        assert figure.locator("svg, canvas").count() == 1
        assert figure.bounding_box()["height"] > 50
    assert opened.messages == []
    outside = [url for url in opened.requests if not url.startswith("data:")]
    assert outside == [pages[name].as_uri()]


@pytest.mark.parametrize("name", ["few", "many"])
def test_on_a_phone_nothing_but_boxes_scrolls_sideways(name: str, visit: Any) -> None:
    opened = visit(name, width=400)
    opened.draw_all()
    opened.page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert opened.page.evaluate("document.documentElement.scrollWidth") == 400
    inside = "(one) => [...document.querySelectorAll(one)].map((box) => box.getBoundingClientRect().right)"
    for selector in (".scroll", "p", "li", "dd", "h2", "figure", "figcaption"):
        assert max(opened.page.evaluate(inside, selector)) <= 400, selector
    table = opened.page.locator(".scroll:has(table)").first
    assert table.evaluate("(box) => box.scrollWidth > box.clientWidth")


def test_both_themes_and_the_button_between_them(visit: Any) -> None:
    light, dark = visit(scheme="light"), visit(scheme="dark")
    grounds = [one.colour("body") for one in (light, dark)]
    assert grounds == ["rgb(255, 255, 255)", "rgb(20, 24, 29)"]
    light.draw_all()
    line = "figure .live svg path[stroke='#1F508F']"
    assert light.page.locator(line).count() > 0
    light.page.click("#theme")
    assert light.colour("body") == grounds[1]
    light.page.wait_for_function("(one) => !document.querySelector(one)", arg=line)
    assert light.page.locator("figure .live svg path[stroke='#157CE2']").count() > 0
    light.page.click("#theme")
    assert light.colour("body") == grounds[0]
    assert light.messages == []


def test_a_chosen_group_stands_out_everywhere(visit: Any) -> None:
    opened = visit()
    opened.draw_all()
    faded = "document.querySelectorAll('figure svg [opacity=\"0.12\"]').length"
    assert opened.page.evaluate(faded) == 0
    chip = opened.page.locator(".chip[data-group=osttp]")
    chip.click()
    assert chip.get_attribute("aria-pressed") == "true"
    opened.page.wait_for_function(f"{faded} > 25")
    assert opened.page.locator("tr.faded[data-group=osttp]").count() == 0
    assert opened.page.locator("tr.faded[data-group=bptt]").count() > 0
    opened.page.click("#clear")
    opened.page.wait_for_function(f"{faded} == 0")
    assert chip.get_attribute("aria-pressed") == "false"


def test_tables_sort_by_number(visit: Any) -> None:
    opened = visit()
    table = opened.page.locator("table").first
    place = [head.inner_text().split()[0] for head in table.locator("thead th").all()].index("memory")
    given = [float(row.locator("th, td").nth(place).inner_text()) for row in table.locator("tbody tr").all()]
    for expected in (sorted(given, reverse=True), sorted(given)):
        table.locator(".sort", has_text="memory").click()
        rows = table.locator("tbody tr").all()
        assert [float(row.locator("th, td").nth(place).inner_text()) for row in rows] == expected


def test_a_chart_can_be_saved(visit: Any) -> None:
    opened = visit()
    opened.draw_all()
    for kind, start in (("svg", b"<svg"), ("png", b"\x89PNG")):
        with opened.page.expect_download() as saving:
            opened.page.locator(f"button[data-save={kind}]").first.click()
        assert saving.value.suggested_filename == f"chart-0-0-0.{kind}"
        assert Path(saving.value.path()).read_bytes().startswith(start)
    assert opened.messages == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_without_scripts_pictures_stand_in(scheme: str, visit: Any) -> None:
    opened = visit(scheme=scheme, scripts=False)
    pictures = opened.page.locator("figure .picture > svg")
    assert pictures.count() == opened.page.locator("figure").count() == 13
    assert all(one.is_visible() and one.bounding_box()["height"] > 50 for one in pictures.all())
    assert not opened.page.locator("#theme").is_visible()
    assert not opened.page.locator(".live").first.is_visible()
    assert opened.page.locator("tr[data-group=bptt]").first.is_visible()
