"""The pictures of a study: what they show, and that they are the same each time."""

from __future__ import annotations

import io
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from fixtures.feasible import request, write_study

from workbench.feasibility import canvas
from workbench.feasibility.pictures import pictures
from workbench.feasibility.study import read_study
from workbench.report import theme

LABEL = "{http://www.w3.org/2000/svg}text"


def texts(picture):
    return ["".join(one.itertext()).strip() for one in ET.fromstring(picture.svg).iter(LABEL)]


def test_a_picture_for_each_question(drawn):
    names = [one.name for one in drawn]
    assert names == [
        "accuracy",
        "memory",
        "writes",
        "energy",
        "bits-quantised",
        "noise-pcm",
        "asymmetry-reram-om",
        "asymmetry-ecram",
    ]
    assert all(one.title and one.caption for one in drawn)


def test_pictures_name_what_they_show(drawn):
    by_name = {one.name: texts(one) for one in drawn}
    assert {"osttp", "bptt", "ideal", "pcm", "reram-om", "ecram"} <= set(by_name["accuracy"])
    assert {"osttp", "bptt", "gradients", "write buffers", "budget 256 KiB"} <= set(by_name["memory"])
    assert "writes of a device within 1 y" in by_name["writes"]
    assert {"cells", "periphery", "digital", "total", "pcm, osttp"} <= set(by_name["energy"])
    assert [text for text in by_name["noise-pcm"] if text in ("×0", "×0.5", "×1", "×2", "×4", "ideal")]
    assert "float" in by_name["bits-quantised"]


def test_the_same_study_gives_the_same_pictures(study, drawn, registry):
    again = pictures(study, registry)
    assert [(one.name, one.svg, one.png) for one in again] == [(one.name, one.svg, one.png) for one in drawn]


def test_png_is_a_picture(drawn):
    from PIL import Image

    for one in drawn:
        with Image.open(io.BytesIO(one.png)) as image:
            assert image.format == "PNG"
            assert image.width == pytest.approx(canvas.WIDTH * canvas.DOTS_PER_INCH, abs=1)


def test_drawing_opens_no_window_and_leaves_settings_alone(study, registry):
    import matplotlib

    before = dict(matplotlib.rcParams)
    pictures(study, registry)
    assert dict(matplotlib.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_what_has_no_numbers_has_no_picture(tmp_path, registry):
    wanted = request("learner=osttp", "hardware=pcm", "seed=0", only=["noise"])
    write_study(tmp_path / "study", wanted, lambda place: None)
    assert pictures(read_study(tmp_path / "study", wanted, registry), registry) == []


def test_one_run_alone_can_be_drawn(tmp_path, registry):
    from fixtures.feasible import usual

    wanted = request("learner=osttp", "hardware=pcm", "seed=0", only=["noise"])
    write_study(tmp_path / "study", wanted, lambda place: usual(place) if place.value in (None, 1) else None)
    found = pictures(read_study(tmp_path / "study", wanted, registry), registry)
    assert [one.name for one in found] == ["accuracy", "memory", "writes", "energy", "noise-pcm"]


def test_many_learners_have_looks_of_their_own():
    looks = [(one["color"], str(one["linestyle"]), one["marker"]) for one in map(canvas.look, range(20))]
    assert len(set(looks)) == 20


def test_in_a_page_colours_are_the_pages(drawn):
    for one in drawn:
        inside = canvas.inline(one.svg, "a")
        assert inside.startswith("<svg")
        for colour in (*theme.LIGHT, canvas.TEXT, canvas.SOFT, canvas.LINE):
            assert colour.lower() not in inside
        assert "var(--text)" in inside
        assert "DejaVu" not in inside
        assert "<metadata" not in inside
        ET.fromstring(inside)


def test_two_pictures_in_a_page_share_no_identifier(drawn):
    def identifiers(text):
        return {value for one in ET.fromstring(text).iter() if (value := one.get("id"))}

    first, second = (canvas.inline(drawn[0].svg, name) for name in ("a", "b"))
    assert identifiers(first)
    assert not identifiers(first) & identifiers(second)
    # What refers to them refers to those of its own.
    used = {one.get("{http://www.w3.org/1999/xlink}href") for one in ET.fromstring(first).iter()} - {None}
    assert {one.lstrip("#") for one in used} <= identifiers(first)


def test_a_device_of_another_package_has_a_name_for_files(study, registry):
    curves = [one for one in study.curves if one.device == "pcm"]
    renamed = [replace(one, device="continual-workbench:pcm") for one in curves]
    last = pictures(replace(study, curves=tuple(renamed)), registry)[-1]
    assert (last.name, last.title.partition(":")[0]) == (
        "noise-continual-workbench_pcm",
        "continual-workbench",
    )
