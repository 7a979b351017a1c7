"""The page of a study: whole, self-contained, and with a way to every run."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest
from fixtures.feasible import request, usual, write_study

from workbench.feasibility.page import MARKS, render
from workbench.feasibility.request import rebudgeted
from workbench.feasibility.study import read_study

VOID = {"meta", "link", "br", "img", "use", "path", "stop"}


class Outline(HTMLParser):
    """The elements of a page, whether they are nested well, identifiers and where links lead."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.names = [], [], [], set()
        self.styles = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        found = dict(attrs)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if tag == "a" else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.names.add(tag)
        self.ids += [dict(attrs)["id"]] if "id" in dict(attrs) else []

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(study, drawn):
    return render(study, drawn)


@pytest.fixture(scope="module")
def outline(page):
    return Outline(page)


def text_of(page):
    return " ".join(
        re.sub(r"<[^>]*>", " ", re.sub(r"<(style|svg).*?</\1>", "", page, flags=re.DOTALL)).split()
    )


def test_it_is_well_nested_and_every_identifier_stands_once(outline):
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))


def test_it_fetches_nothing_and_runs_nothing(page, outline):
    assert not {"script", "iframe", "object", "embed", "img"} & outline.names
    assert not re.search(r"https?://(?!www\.w3\.org/)", page)
    assert not re.search(r"url\((?!#)|@import", page)
    assert "default-src 'none'" in page


def test_links_lead_to_places_in_it_to_files_beside_it_or_to_runs(outline, study_folder):
    assert outline.links
    for link in outline.links:
        if link.startswith("#"):
            assert link[1:] in outline.ids
        elif link != "feasibility.json":
            assert (study_folder / unquote(link)).is_file(), link


def test_there_is_a_way_to_every_run(outline, study):
    linked = {unquote(link) for link in outline.links}
    assert {f"{run.folder}/results.json" for run in study.found.runs.values()} <= linked
    assert {one.log for one in study.missing} <= linked


def test_every_verdict_and_every_reason_stands_in_it(page, study):
    from html import unescape

    text = unescape(text_of(page))
    for verdict in study.verdicts:
        assert f"{verdict.learner} on {verdict.device}: " in text
        for one in verdict.findings:
            assert " ".join(one.reason.split()) in text
    for one in study.missing:
        assert one.job in text
        assert one.error in text
    assert "6 pairs of learner and device:" in text
    assert "horowitz-45nm: leakage is nothing" in text


def test_colour_is_not_all_that_tells_verdicts_apart():
    by_kind = {}
    for word, (kind, mark) in MARKS.items():
        assert by_kind.setdefault(kind, mark) == mark, word
    assert len(set(by_kind.values())) == len(by_kind)


@pytest.mark.parametrize(
    ("lost", "told"),
    [((), None), ((1,), "2 runs are not finished"), ((0, 1), "4 runs are not finished")],
)
def test_what_is_left_out_is_said(lost, told, tmp_path, registry):
    wanted = request("learner=osttp", "hardware=pcm", "seed=0,1", only=[])
    write_study(tmp_path / "study", wanted, lambda place: None if place.seed in lost else usual(place))
    text = text_of(render(read_study(tmp_path / "study", wanted, registry), []))
    assert f"From {4 - 2 * len(lost)} finished runs" in text
    assert ("Not finished" in text) == bool(lost)
    assert told is None or told in text


def test_one_run_that_is_not_finished(page, study):
    assert len(study.missing) == 1
    assert "1 run is not finished. What it would say is left out" in text_of(page)


def test_a_study_without_a_finished_run_has_a_page(tmp_path, registry):
    wanted = request("learner=osttp", "hardware=pcm", "seed=0", only=["noise"])
    write_study(tmp_path / "study", wanted, lambda place: None)
    text = text_of(render(read_study(tmp_path / "study", wanted, registry), []))
    assert "1 pair of learner and device: 1 unknown. From 0 finished runs" in text
    assert "No run is finished." in text


def test_the_same_study_gives_the_same_page(page, study, drawn):
    assert render(study, drawn) == page


def test_names_of_others_are_text_and_no_markup(study_folder, study, drawn, registry):
    from dataclasses import replace

    from workbench.feasibility.runs import Missing

    evil = replace(study.found, missing=(Missing("<script>alert(1)</script>", "failed", "</table><b>"),))
    page = render(replace(study, found=evil), drawn)
    assert "<script>" not in page
    assert "&lt;/table&gt;&lt;b&gt;" in page


def test_from_another_folder_links_lead_to_the_runs_all_the_same(study, drawn):
    links = Outline(render(study, drawn, "../the study")).links
    runs = [link for link in links if link.endswith("results.json")]
    assert runs
    assert all(link.startswith("../the%20study/runs/") for link in runs)


def test_a_feasible_pair(study_folder, study, registry, drawn):
    kind = rebudgeted(study.request, ["budget.endurance=1e12", "budget.loss=100%"])
    page = render(read_study(study_folder, kind, registry), drawn)
    text = text_of(page)
    assert "feasible with reservations" in text
    assert "not feasible" not in text.partition("How to read it")[0]
