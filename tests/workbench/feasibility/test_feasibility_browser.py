"""The page in a real browser without a window: quiet, no request, both themes, on a phone, without scripts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from workbench.feasibility.saved import save

INSIDE = "(one) => [...document.querySelectorAll(one)].map((box) => box.getBoundingClientRect().right)"
CONTRAST = """(one) => {
  const shown = (colour) => colour.match(/[0-9.]+/g).slice(0, 3).map(Number);
  const light = (colour) => {
    const [r, g, b] = shown(colour).map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = light(getComputedStyle(document.body).backgroundColor);
  return [...document.querySelectorAll(one)].map((element) => {
    const style = getComputedStyle(element);
    const own = light(element instanceof SVGElement ? style.fill : style.color);
    return (Math.max(own, ground) + 0.05) / (Math.min(own, ground) + 0.05);
  });
}"""
"""Contrast of texts with the page's ground, as WCAG 2 has it."""


@pytest.fixture(scope="module")
def address(study: Any, drawn: Any, study_folder: Any) -> str:
    """Where the page is."""
    return str(next(file for file in save(study, drawn, study_folder) if file.suffix == ".html").as_uri())


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Any]:
    """Open the page; it must have been quiet, and have asked for nothing but itself, by the end."""
    contexts, requests, messages = [], [], []

    def open_page(width: int = 1200, scheme: str = "light", scripts: bool = True) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=scripts
        )
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert messages == []
    assert {url for url in requests if not url.startswith("data:")} == {address}


def open_all(page: Any) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")


@pytest.mark.parametrize("scripts", [True, False])
def test_every_picture_is_there(scripts: bool, visit: Any, drawn: Any) -> None:
    page = visit(scripts=scripts)
    figures = page.locator("figure svg").all()
    assert len(figures) == len(drawn)
    for figure in figures:
        box = figure.bounding_box()
        assert box["width"] > 300
        assert box["height"] > 100


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_written_is_readable_on_its_ground(scheme: str, visit: Any) -> None:
    page = visit(scheme=scheme)
    open_all(page)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 24, 29)"}[scheme]
    for selector in (
        ".met",
        ".reservation",
        ".unknown",
        ".missed",
        "td",
        "figcaption",
        "a",
        "figure svg text",
    ):
        found = page.evaluate(CONTRAST, selector)
        assert found or selector in (".unknown", ".reservation"), selector
        assert all(contrast >= 4.5 for contrast in found), (selector, min(found))


@pytest.mark.parametrize("width", [320, 400])
def test_on_a_phone_nothing_but_tables_scrolls_sideways(width: int, visit: Any) -> None:
    page = visit(width=width)
    open_all(page)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    for selector in (
        ".scroll",
        "p",
        "li",
        "dd",
        "h2",
        "h3",
        "figure",
        "figcaption",
        ".criteria",
        "svg",
        "pre",
    ):
        assert max(page.evaluate(INSIDE, selector)) <= width, selector
    table = page.locator(".scroll:has(.numbers)")
    assert table.evaluate("(box) => box.scrollWidth > box.clientWidth")


def test_a_verdict_leads_to_its_reasons(visit: Any) -> None:
    page = visit(scripts=False)
    reasons = page.locator("#pair-1-2")
    assert not reasons.is_visible()
    page.locator(".matrix a").last.click()
    reasons.wait_for(state="visible")
    assert page.locator("#pair-0-0").is_hidden()
    assert "endurance" in reasons.inner_text()


def test_on_paper_nothing_is_cut_off(visit: Any) -> None:
    page = visit(width=700)
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") == 700
