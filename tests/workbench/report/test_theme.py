"""Colours that everyone can tell apart, in both themes, and one set of them in the charts and in the page."""

from __future__ import annotations

import itertools
import re

import numpy as np
import numpy.typing as npt
import pytest

from workbench.report import theme
from workbench.report.page import TEMPLATES

Array = npt.NDArray[np.float64]
SIGHTS = {
    # Machado, Oliveira and Fernandes, IEEE TVCG 15 (2009), severity 1; on linear RGB.
    "all cones": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def linear(colour: str) -> Array:
    """Return linear RGB of #RRGGBB."""
    given = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(given <= 0.04045, given / 12.92, ((given + 0.055) / 1.055) ** 2.4)


def lab(rgb: Array) -> Array:
    """Return CIELAB (D65) of linear RGB."""
    xyz = TO_XYZ @ np.clip(rgb, 0, 1) / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def luminance(colour: str) -> float:
    return float(TO_XYZ[1] @ linear(colour))


def test_the_measure_of_colours_knows_white_and_red() -> None:
    assert lab(linear("#FFFFFF")) == pytest.approx([100, 0, 0], abs=0.1)
    assert lab(linear("#FF0000")) == pytest.approx([53.24, 80.09, 67.20], abs=0.1)


@pytest.mark.parametrize("colours", [theme.LIGHT, theme.DARK], ids=["light", "dark"])
@pytest.mark.parametrize("sight", SIGHTS)
def test_any_two_colours_can_be_told_apart(sight: str, colours: tuple[str, ...]) -> None:
    seen = [lab(SIGHTS[sight] @ linear(colour)) for colour in colours]
    assert min(np.linalg.norm(one - other) for one, other in itertools.combinations(seen, 2)) > 19


@pytest.mark.parametrize(
    ("colours", "ground", "least"), [(theme.LIGHT, "#FFFFFF", 2.4), (theme.DARK, "#14181D", 3.9)]
)
def test_colours_stand_out_from_the_ground(colours: tuple[str, ...], ground: str, least: float) -> None:
    for colour in colours:
        low, high = sorted((luminance(colour), luminance(ground)))
        assert (high + 0.05) / (low + 0.05) > least, colour


def test_the_page_has_the_colours_of_the_charts() -> None:
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    given = [re.findall(r"--c\d: (#\w+);", block) for block in style.split("}") if "--c0:" in block]
    assert [tuple(colours) for colours in given] == [theme.LIGHT, theme.DARK, theme.DARK, theme.LIGHT]


def test_groups_beyond_the_colours_differ_by_dash_and_shape() -> None:
    looks = [
        (theme.LIGHT[index % len(theme.LIGHT)], tuple(theme.dash(index)), theme.shape(index))
        for index in range(4 * len(theme.LIGHT))
    ]
    assert len(set(looks)) == len(looks)
    assert len({dash for _, dash, _ in looks}) == len({shape for _, _, shape in looks}) == 4
