"""The report's forms: every point is in them, nothing is loaded from elsewhere, names are only ever names."""

import io
import re
import shutil
import subprocess

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from plotly.offline import get_plotlyjs
from rich.console import Console

from nasprune.confusion import confidence
from sweep.report.plot import DOTS, SIZE, draw
from sweep.report.text import markdown, table
from sweep.report.view import AXES, MACS, axes_of, count, look, percent, widths_summary
from sweep.report.web import figure, page
from tests.sweep.report.fronts import BUDGETS, FRONTS, front_of, on_board

every_front = pytest.mark.parametrize("front", FRONTS.values(), ids=FRONTS)


def beside_plotly(text):
    """The page without plotly's own code, which names many addresses that it does not open."""
    assert get_plotlyjs() in text
    return text.replace(get_plotlyjs(), "")


@every_front
def test_the_picture_is_a_sharp_png_and_the_same_each_time(front):
    drawn = draw(front)
    with Image.open(io.BytesIO(drawn)) as image:
        assert image.format == "PNG"
        assert image.size == tuple(round(side * DOTS) for side in SIZE)
    assert draw(front) == drawn


def test_the_picture_shows_every_budget_in_its_colour():
    front = FRONTS["500"]
    pixels = np.asarray(Image.open(io.BytesIO(draw(front))).convert("RGB")).reshape(-1, 3)
    seen = {f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in np.unique(pixels, axis=0)}
    view = look(front)
    assert {view.colour(budget) for budget in BUDGETS} <= seen


@every_front
def test_it_says_how_many_images_chose_and_how_sure_the_dense_network_is(front):
    low, high = confidence(0.932, 105)
    sure = f"{100 * low:.1f} to {percent(high)}"
    (band,) = (shape for shape in figure(look(front)).layout.shapes if shape.type == "rect")
    assert (band.y0, band.y1) == (100 * low, 100 * high)
    for text in (markdown(front), page(front)):
        assert "105 validation images" in text
        assert sure in text


def test_drawing_leaves_matplotlib_as_it_was():
    before = dict(mpl.rcParams)
    draw(FRONTS["tied"])
    assert dict(mpl.rcParams) == before


@every_front
def test_the_page_loads_nothing(front):
    rest = beside_plotly(page(front))
    assert "http" not in rest
    assert not re.search(r"<(script|link|img|iframe)[^>]*(src|href)=", rest)


@every_front
def test_the_figure_holds_every_point_where_it_belongs(front):
    drawn = figure(look(front))
    held = [
        (x, y) for trace in drawn.data if trace.name.startswith("budget") for x, y in zip(trace.x, trace.y, strict=True)
    ]
    asked = [(point["macs_ratio"], 100 * point["val_accuracy"]) for point in front["points"]]
    assert np.array(sorted(held)) == pytest.approx(np.array(sorted(asked)))
    texts = " ".join(text for trace in drawn.data if trace.text for text in trace.text)
    for point in front["points"]:
        assert point["point"] in texts
        assert f"{point['macs']:,} MACs" in texts
        assert percent(point["test_accuracy"], 2) in texts


@every_front
def test_tables_hold_dense_and_the_front_and_nothing_else(front):
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table(front))
    assert look(front).subtitle in console.export_text(clear=False), "in one line"
    rest = beside_plotly(page(front))
    rows = rest[rest.index("<tbody>") :]
    for text in (console.export_text(), markdown(front), rows):
        assert "dense" in text
        shown = {point["point"] for point in front["points"] if point["point"] in text}
        assert shown == {point["point"] for point in front["points"] if point["on_front"]}


@every_front
def test_every_point_is_on_the_axes_or_marked_below_them(front):
    view = look(front)
    low, high = view.cost_range
    assert ((low < view.shares) & (view.shares < high)).all()
    assert (view.low | (view.accuracies >= view.floor)).all()
    assert (view.accuracies <= view.top).all()
    assert (view.accuracies[view.low] < view.dense["val_accuracy"]).all()
    assert not view.low[view.telling].any()
    assert view.floor < view.dense["val_accuracy"] < view.top
    assert 1.0 in view.cost_ticks


def test_a_collapsed_trial_does_not_flatten_the_front():
    view = look(FRONTS["collapsed"])
    assert view.floor > 0.8
    assert view.low.tolist() == [False, False, True, True]


SHARE = st.integers(1, 100).map(lambda percent: percent / 100)


@given(st.lists(st.tuples(SHARE, SHARE, st.sampled_from(BUDGETS)), min_size=1, max_size=20))
def test_no_point_lies_above_the_stairs_and_each_of_the_front_is_a_corner(points):
    view = look(front_of(points))
    x, y = view.stairs
    assert (np.diff(x) >= 0).all()
    assert (np.diff(y) >= 0).all()
    for share, accuracy in zip(view.shares, view.accuracies, strict=True):
        assert accuracy <= y[np.flatnonzero(x <= share)[-1]]
    corners = set(zip(x.tolist(), y.tolist(), strict=True))
    assert {(view.shares[i], view.accuracies[i]) for i in view.front} <= corners


def test_of_a_cluster_only_the_most_accurate_is_labelled():
    view = look(front_of([(0.240, 0.90, 0.25), (0.241, 0.905, 0.25), (0.242, 0.91, 0.25), (0.5, 0.93, 0.5)]))
    assert sorted(view.telling) == [2, 3]


def test_budgets_have_colours_that_grow_lighter():
    view = look(FRONTS["many budgets"])
    colours = [view.colour(budget) for budget in view.budgets]
    luma = [np.dot([0.2126, 0.7152, 0.0722], list(bytes.fromhex(colour[1:]))) for colour in colours]
    assert (np.diff(luma) > 0).all()


def test_a_budget_has_one_colour_on_all_axes_and_in_the_table():
    front = on_board(front_of([(0.5, 0.92, 0.5), (0.25, 0.93, 0.25), (0.1, 0.9, 0.1)]))  # 50 % is not on the front
    colours = {}
    for axis in axes_of(front):
        for trace in figure(look(front, axis)).data:
            if trace.name.startswith("budget"):
                colours.setdefault(trace.name, set()).add(trace.marker.color)
    assert sorted(colours) == ["budget 10 %", "budget 25 %", "budget 50 %"]
    rows = re.findall(r'background:(#[0-9a-f]+)"></span>.*?</td><td>(\d+ %)</td>', beside_plotly(page(front)))
    assert {f"budget {budget}": {colour} for colour, budget in rows}.items() <= colours.items()
    assert len(rows) == 2


HOSTILE = "</script><b>[red]|`x`"


def test_names_are_only_names():
    front = {**front_of([(0.24, 0.91, 0.25)], point=HOSTILE, network=HOSTILE), "study": HOSTILE}
    assert HOSTILE not in beside_plotly(page(front))
    assert "<b>[red]" not in beside_plotly(page(front))
    console = Console(width=300, record=True, file=io.StringIO())
    console.print(table(front))
    assert HOSTILE in console.export_text()
    row = next(line for line in markdown(front).splitlines() if "91.00 %" in line)
    assert len(re.findall(r"(?<!\\)\|", row)) == 8
    draw(front)


def test_a_note_fits_into_mlflow_however_long_the_front():
    front = front_of([(n / 500, 0.5 + n / 1100, 0.5) for n in range(1, 500)])
    assert len(look(front).front) == 499
    assert len(markdown(front)) < 7_500
    assert "459 more" in markdown(front)


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0"),
        (999, "999"),
        (1_000, "1.00 k"),
        (999_400, "999 k"),
        (999_600, "1.00 M"),
        (54_100_000, "54.1 M"),
        (557_000_000, "557 M"),
        (1_820_000_000, "1.82 G"),
    ],
)
def test_counts_have_three_digits_and_a_unit(number, shown):
    assert count(number) == shown


def test_widths_are_summed_up():
    assert widths_summary({}) == "no groups"
    assert widths_summary({"stem": 16, "layer1": 24}) == "40 channels in 2 groups: stem 16, layer1 24"
    assert widths_summary({f"g{n}": 1 for n in range(9)}).endswith("g3 1, and 5 more")


def in_a_browser(text, folder, *flags):
    """What a browser makes of a page."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium or google-chrome on this machine")
    (folder / "front.html").write_text(text)
    return subprocess.run(
        [
            browser,
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            f"--user-data-dir={folder / 'profile'}",
            *("--virtual-time-budget=5000", "--dump-dom", *flags, (folder / "front.html").as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout


@pytest.mark.system
def test_a_browser_draws_every_point(tmp_path):
    seen = in_a_browser(page(FRONTS["tied"]), tmp_path)
    assert len(re.findall(r'<path class="point', seen)) == len(FRONTS["tied"]["points"]) + 1  # and dense
    assert "dense, 93.2 %" in seen


def test_a_front_can_be_drawn_against_all_that_was_measured():
    front = FRONTS["on board"]
    text = page(front)
    for axis in AXES:
        assert f'<button data-axis="{axis.key}"' in text
        view = look(front, axis)
        measured = [point for point in front["points"] if axis is MACS or point["on_front"]]
        assert len(view.points) == len(measured)
        assert list(view.front) == sorted(view.front, key=lambda index: view.shares[index])
    # The larger is the faster here, so the most accurate point alone is on that front.
    fastest = look(front, next(axis for axis in AXES if axis.key == "int8_latency_ms"))
    (best,) = fastest.front
    assert fastest.accuracies[best] == max(fastest.accuracies)
    assert "INT8 test" in markdown(front)


def test_a_front_without_files_for_the_board_has_one_axis():
    assert axes_of(FRONTS["500"]) == [MACS]
    assert "INT8" not in markdown(FRONTS["500"])
    assert beside_plotly(page(FRONTS["500"])).count("<button data-axis") == 1
