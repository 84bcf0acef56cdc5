"""Colours of conditions, measured as eyes see them."""

import itertools

import numpy as np
import pytest

from ssr_plugin.metrics.colours import CONDITION_COLOURS, condition_colour
from ssr_plugin.registry import get_registry

# What is left of a colour, in linear RGB, without one kind of receptor: Machado,
# Oliveira and Fernandes (2009), severity 1.
SIGHT = {
    "normal": np.eye(3),
    "no red": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "no green": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "no blue": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
XYZ = [
    [0.4124564, 0.3575761, 0.1804375],
    [0.2126729, 0.7151522, 0.0721750],
    [0.0193339, 0.1191920, 0.9503041],
]
WHITE = np.array([0.95047, 1.0, 1.08883])


def linear(colour):
    """``#rrggbb`` as linear RGB."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """Linear RGB in CIELAB, where equal distances look equally large."""
    share = np.array(XYZ) @ np.clip(rgb, 0, 1) / WHITE
    f = np.where(share > 216 / 24389, np.cbrt(share), (24389 / 27 * share + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(colour, ground):
    """Of WCAG: 1 is none, 21 is black on white."""
    dark, light = sorted(np.array(XYZ)[1] @ linear(x) for x in (colour, ground))
    return (light + 0.05) / (dark + 0.05)


def test_each_condition_has_a_colour_of_its_own():
    # What others are measured by, and is seldom shown, is grey.
    names = set(get_registry().conditions.names()) - {"base_none"}
    assert set(CONDITION_COLOURS) == names
    colours = {condition_colour(name) for name in (*names, "another")}
    assert len(colours) == len(names) + 1


@pytest.mark.parametrize("sight", SIGHT)
def test_any_two_conditions_are_told_apart_by_any_eyes(sight):
    seen = {
        name: lab(np.array(SIGHT[sight]) @ linear(colour))
        for name, colour in CONDITION_COLOURS.items()
    }
    for one, other in itertools.combinations(seen, 2):
        # 2.3 is just noticeable side by side; ten times that is plain at a glance.
        assert np.linalg.norm(seen[one] - seen[other]) > 23, (one, other)


@pytest.mark.parametrize("ground", ["#ffffff", "#15181c"])
def test_each_condition_stands_out_on_light_and_dark_pages(ground):
    for name, colour in CONDITION_COLOURS.items():
        assert contrast(colour, ground) > 1.7, name
