"""The part of the page that tells which classes pay."""

import re

import pytest

from sweep.report.classes import class_section
from sweep.report.view import look
from tests.sweep.report.fronts import FRONTS, by_class, front_of


def cells(section):
    """Rows of cells as text, without the head."""
    body = section[section.index("<tbody>") :]
    return [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in re.findall(r"<tr>(.*?)</tr>", body)]


def test_the_weakest_class_comes_first_and_points_from_dear_to_cheap():
    section = class_section(look(front_of([(0.1, 0.75, 0.1), (0.5, 0.9, 0.5), (0.25, 0.7, 0.25)])))
    assert cells(section) == [
        ["river", "20", "80.0", "80.0", "65.0"],
        ["beach", "20", "90.0", "90.0", "75.0"],
        ["all classes", "40", "92.5", "89.0", "74.0"],
    ]
    assert "20 test images a class, so one image is 5 points" in section
    shares = re.findall(r'<th title="([^"]*)">([^<]*)</th>', section)
    assert shares == [("the dense network", "dense"), ("t001-x", "50.0 %"), ("t000-x", "10.0 %")]


def test_a_cell_says_what_the_class_is_taken_for():
    section = class_section(look(front_of([(0.1, 0.75, 0.1)])))
    assert 'title="beach: 15 of 20 right; most often taken for river">75.0</td>' in section
    assert "taken for beach &amp; &lt;sea&gt;" in section
    assert "<sea>" not in section


def test_the_lower_the_darker_and_100_per_cent_is_white():
    section = class_section(look(front_of([(0.5, 1.0, 0.5), (0.1, 0.5, 0.1)])))
    colours = dict(re.findall(r'rgb\((\d+, \d+, \d+)\)"[^>]*>([\d.]+)<', section))
    assert colours["255, 255, 255"] == "100.0"
    greens = {float(shown): int(colour.split(", ")[1]) for colour, shown in colours.items()}
    assert sorted(greens, key=greens.get) == sorted(greens)


def test_of_a_long_front_eight_points_are_shown():
    assert {len(row) for row in cells(class_section(look(FRONTS["many budgets"])))} == {2 + 1 + 8}


def told(section):
    return re.search("<p>(.*?)</p>", section, re.DOTALL)[1].replace("\n", " ")


def test_it_says_how_many_of_the_front_are_shown():
    assert "the dense network, then 8 of the 19 points of the front (at least 5 % apart, at most 8) from dear" in told(
        class_section(look(FRONTS["many budgets"]))
    )
    close = front_of([(0.5, 0.9, 0.5), (0.49, 0.89, 0.5), (0.1, 0.8, 0.1)])
    assert "then 2 of the 3 points of the front" in told(class_section(look(close)))
    assert "the dense network, then the front from dear to cheap" in told(
        class_section(look(front_of([(0.1, 0.8, 0.1)])))
    )


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (1, "1 test image a class, so one image is 100 points"),
        (8, "8 test images a class, so one image is 12.5 points"),
        (140, "140 test images a class, so one image is 0.714 points"),
    ],
)
def test_a_step_is_what_one_image_is_worth(images, said):
    front = front_of([])
    front["dense"]["by_class"] = {"beach": {"images": images, "right": 1, "taken_for": None}}
    front["dense"]["val_images"] = images
    view = look(front)
    assert said in told(class_section(view))
    assert f"one of them is {said.split()[-2]} points" in view.note


def test_classes_of_different_sizes_are_said_to_be():
    front = front_of([(0.1, 0.75, 0.1)])
    few = {"images": 10, "right": 9, "taken_for": "river"}
    front["dense"]["by_class"] = by_class(0.925) | {"beach": few}
    assert "10 to 20 test images a class, so one image is 5 to 10 points" in class_section(look(front))


def test_without_test_images_nothing_is_said():
    front = front_of([])
    front["dense"]["by_class"] = {}
    assert class_section(look(front)) == ""


def test_a_network_without_a_fault_has_no_dark_cell():
    front = front_of([])
    front["dense"]["by_class"] = {"beach": {"images": 20, "right": 20, "taken_for": None}}
    assert "rgb(255, 255, 255)" in class_section(look(front))
