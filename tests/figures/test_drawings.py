"""What the figures draw: read back from matplotlib's artists."""

import math

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.collections import LineCollection, QuadMesh
from PIL import Image

from agiqa_bench.figures.critical_difference import critical_difference
from agiqa_bench.figures.curves import Curve, CurvesPanel, curves, mean_curve
from agiqa_bench.figures.effects import Effect, effects
from agiqa_bench.figures.gallery import gallery, thumbnail
from agiqa_bench.figures.heat_map import heat_map, scale
from agiqa_bench.figures.histogram import BINS, histogram
from agiqa_bench.figures.panels import Panel, padded, ticks_within
from agiqa_bench.figures.scatter import ScatterPanel, scatter
from agiqa_bench.figures.strip import StripRow, strip
from agiqa_bench.figures.style import WIDTH, fitted, style, text_width
from agiqa_bench.harmless import one_line
from agiqa_bench.reporting.model import Picture


def words(figure):
    axes = [text for one in figure.axes for text in one.texts]
    return [text.get_text() for text in [*figure.texts, *axes]]


def dots(axes, marker):
    """Points (n, 2) of every line that is drawn as this marker."""
    return [line.get_xydata() for line in axes.lines if line.get_marker() == marker]


def place_of(axes, text):
    return next(found.get_position() for found in axes.texts if found.get_text() == text)


# Panels


def test_a_panel_maps_its_corners_and_breaks_lines_outside():
    panel = Panel(1.0, 2.0, 4.0, 3.0, (0.0, 10.0), (-1.0, 1.0))
    np.testing.assert_allclose(panel.points([0, 10, 5], [-1, 1, 0]), [[1, 5], [5, 2], [3, 3.5]])
    assert np.isnan(panel.points([5], [1.01])[0, 1])


@example([0.0, 2.225073858507e-311], 2)
@example([1e6, 1e6 + 1e-9], 4)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), st.integers(2, 6))
@settings(deadline=None, max_examples=50)
def test_a_padded_range_holds_its_values_and_has_ticks(values, count):
    low, high = padded(values)
    assert low < min(values) <= max(values) < high
    ticks = ticks_within((low, high), count)
    assert 2 <= len(ticks) <= count + 2
    assert all(low <= tick <= high for tick in ticks)


def test_ticks_of_epochs_are_whole_numbers():
    assert ticks_within((0.9, 3.1), 4, whole_numbers=True) == [1, 2, 3]
    assert ticks_within((0.5, 1.5), 4, whole_numbers=True) == [1]


# Scatter


def test_scatter_draws_every_image_at_its_score_and_mos():
    draws = np.random.default_rng(0)
    first = ScatterPanel("A", draws.uniform(1, 50, 50), draws.uniform(0, 5, 50), lines=("SRCC 0.123",))
    second = ScatterPanel("B", draws.normal(0, 1, 30), draws.uniform(0, 5, 30), diagnostic=True)
    axes = scatter([first, second]).axes[0]
    for panel, points in zip((first, second), dots(axes, "o"), strict=True):
        x, y = points.T
        assert np.corrcoef(x, panel.scores)[0, 1] == pytest.approx(1)
        assert np.corrcoef(y, panel.mos)[0, 1] == pytest.approx(-1)  # inches are counted from the top
    # The labels of the ticks say where values are: on the one vertical scale for all panels, and on A's own below.
    to_inches = np.polyfit(first.mos, dots(axes, "o")[0][:, 1], 1)
    for number in ("2", "4"):
        assert place_of(axes, number)[1] == pytest.approx(np.polyval(to_inches, float(number)))
    np.testing.assert_allclose(np.polyfit(second.mos, dots(axes, "o")[1][:, 1], 1), to_inches)
    to_inches = np.polyfit(first.scores, dots(axes, "o")[0][:, 0], 1)
    assert place_of(axes, "40")[0] == pytest.approx(np.polyval(to_inches, 40))
    assert "A\nSRCC 0.123" in words(axes.figure)


def test_scatter_draws_the_fit_and_baselines_in_grey():
    scores = np.linspace(0, 1, 20)
    panels = [
        ScatterPanel("A", scores, scores * 2, fit=lambda x: x + 0.5),
        ScatterPanel("B", scores, scores, diagnostic=True),
    ]
    axes = scatter(panels).axes[0]
    fit = next(c for c in axes.collections if mpl.colors.to_hex(c.get_colors()[0]) == "#d55e00")
    (line,) = fit.get_segments()
    points = dots(axes, "o")[0]
    x = np.polyval(np.polyfit(points[:, 0], scores, 1), line[:, 0])
    y = np.polyval(np.polyfit(points[:, 1], scores * 2, 1), line[:, 1])
    np.testing.assert_allclose(y, x + 0.5, atol=1e-9)
    assert x.min() == pytest.approx(0)
    assert x.max() == pytest.approx(1)
    assert [line.get_color() for line in axes.lines] == ["#0072b2", "#7f7f7f"]


def test_constant_scores_are_drawn():
    panel = ScatterPanel("A", np.full(4, 7.0), np.array([1.0, 2, 3, 4]))
    points = dots(scatter([panel]).axes[0], "o")[0]
    assert np.isfinite(points).all()


# Strip


def test_strip_draws_every_defined_repeat_and_the_mean():
    rows = [StripRow("A", (0.5, None, 0.7), 0.6, 0.4, 0.8), StripRow("B", (0.1, 0.2, 0.3), 0.2, diagnostic=True)]
    axes = strip([*rows, StripRow("C", (None, None, None), None)]).axes[0]
    ((a,), (b,)) = dots(axes, "o"), dots(axes, "s")
    np.testing.assert_allclose(a[:, 0], [0.5, 0.7])
    np.testing.assert_allclose(b[:, 0], [0.1, 0.2, 0.3])
    assert (a[:, 1].round() == 0).all()
    assert (b[:, 1].round() == 1).all()
    assert a[1, 1] + 1 == pytest.approx(b[2, 1])  # one repeat, one height
    np.testing.assert_allclose(dots(axes, "|")[0], [[0.6, 0], [0.2, 1]])
    (spans,) = axes.collections
    np.testing.assert_allclose(spans.get_segments(), [[[0.4, 0], [0.8, 0]]])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["A", "B", "C"]
    assert words(axes.figure) == ["not defined"]
    assert axes.get_ylim() == (2.5, -0.5)
    assert next(line for line in axes.lines if line.get_marker() == "s").get_markerfacecolor() == "none"


# Critical differences


def test_critical_difference_places_ranks_on_one_scale():
    ranks = {"A": 1.5, "B": 2.0, "C": 2.5, "D": 4.0}
    axes = critical_difference(ranks, [["A", "B"], ["B", "C"]], critical=1.0, hollow=["D"]).axes[0]
    found = np.concatenate([*dots(axes, "o"), *dots(axes, "s")])
    to_rank = np.polyfit(found[:, 0], list(ranks.values()), 1)
    np.testing.assert_allclose(np.polyval(to_rank, found[:, 0]), list(ranks.values()))
    for rank in ("1", "2", "3", "4"):
        assert np.polyval(to_rank, place_of(axes, rank)[0]) == pytest.approx(float(rank))
    bars = [line.get_xydata() for line in axes.lines if line.get_linewidth() == 3]
    inside = [[name for name, rank in ranks.items() if _covers(bar, rank, to_rank)] for bar in bars]
    assert inside == [["A", "B"], ["B", "C"]]
    assert bars[0][0, 1] != bars[1][0, 1]
    (ruler,) = dots(axes, "|")
    assert np.diff(np.polyval(to_rank, ruler[:, 0])) == pytest.approx(1.0)
    heights = {name: place_of(axes, name) for name in ranks}
    assert heights["A"][0] < 2 < 4 < heights["D"][0]
    assert heights["A"][1] == heights["D"][1] < heights["B"][1] == heights["C"][1]
    assert {"1.50", "2.00", "2.50", "4.00", "critical difference 1.00"} <= set(words(axes.figure))


def _covers(bar, rank, to_rank):
    low, high = sorted(np.polyval(to_rank, bar[:, 0]))
    return low <= rank <= high


def test_bars_side_by_side_share_a_level():
    ranks = {name: 1.0 + place for place, name in enumerate("ABCDEFGH")}
    axes = critical_difference(ranks, [["A", "B"], ["G", "H"], ["B", "C", "D"], ["E"]]).axes[0]
    bars = [line.get_ydata()[0] for line in axes.lines if line.get_linewidth() == 3]
    assert bars[0] == bars[1] < bars[2]


def test_critical_difference_refuses_what_it_cannot_place():
    with pytest.raises(ValueError, match="finite"):
        critical_difference({"A": math.nan})
    with pytest.raises(ValueError, match="no mean rank of B"):
        critical_difference({"A": 1.0}, [["A", "B"]])


# Curves


def test_the_second_training_is_dashed_and_has_no_part_in_the_mean():
    first = ((3.0, 2.0, 1.0), (3.5, 2.5, 1.5))
    again = ((9.0, 8.0), (7.0,))
    plain = curves([CurvesPanel("A", tuple(Curve(loss) for loss in first))]).axes[0]
    both = curves(
        [CurvesPanel("A", tuple(Curve(loss, refit=refit) for loss, refit in zip(first, again, strict=True)))]
    ).axes[0]
    assert len(both.collections) == len(plain.collections) + 1
    dashed = [lines for lines in both.collections if lines.get_linestyle()[0][1] and len(lines.get_segments()) == 2]
    (drawn,) = dashed
    assert [len(segment) for segment in drawn.get_segments()] == [2, 1]


def test_curves_draw_each_repeat_their_mean_and_the_chosen_epochs():
    repeats = (Curve((4.0, 2.0, 1.0), (0.1, 0.5, 0.4), (1,)), Curve((6.0, math.nan), (0.3, 0.7), (0, 1), starts=(1,)))
    axes = curves([CurvesPanel("A", repeats)]).axes[0]
    by_width = [c for c in axes.collections if isinstance(c, LineCollection)]
    (loss, validation) = (c.get_segments() for c in by_width if c.get_alpha() == 0.45)
    (mean_loss, mean_validation) = (c.get_segments() for c in by_width if c.get_linewidths()[0] == 1.8)
    assert [len(line) for line in loss] == [3, 1]  # matplotlib leaves out what is not finite
    to_loss = np.polyfit(loss[0][:, 1], [4, 2, 1], 1)
    assert np.polyval(to_loss, loss[1][0, 1]) == pytest.approx(6)
    assert np.polyval(to_loss, mean_loss[0][0, 1]) == pytest.approx(5)
    to_value, to_epoch = (
        np.polyfit(validation[0][:, axis], true, 1) for axis, true in ((1, [0.1, 0.5, 0.4]), (0, [1, 2, 3]))
    )
    np.testing.assert_allclose(np.polyval(to_value, mean_validation[0][:, 1]), [0.2, 0.6])
    (rings,) = dots(axes, "o")
    np.testing.assert_allclose(np.polyval(to_value, rings[:, 1]), [0.5, 0.3, 0.7])
    np.testing.assert_allclose(np.polyval(to_epoch, rings[:, 0]), [2, 1, 2])
    (stage,) = (c.get_segments()[0] for c in by_width if c.get_linewidths()[0] == 0.6 and len(c.get_segments()) == 1)
    assert np.polyval(np.polyfit(loss[0][:, 0], [1, 2, 3], 1), stage[0, 0]) == pytest.approx(1.5)


def test_a_training_without_validation_says_so():
    figure = curves([CurvesPanel("A", (Curve((3.0,)),))])
    assert words(figure).count("not recorded") == 1
    assert len(dots(figure.axes[0], "o")) == 1  # one epoch is no line


@given(st.lists(st.lists(st.floats(-9, 9), max_size=6), min_size=1, max_size=5))
def test_the_mean_curve_ends_with_the_shortest(lines):
    known = [line for line in lines if line]
    expected = [sum(values) / len(values) for values in zip(*known, strict=False)]
    np.testing.assert_allclose(mean_curve(lines), expected, atol=1e-9)


# Heat map


def test_a_heat_map_writes_its_numbers_and_hatches_the_undefined():
    figure = heat_map([[0.94, None], [-0.204, 0.5]], ["A", "B"], ["x", "y"])
    axes = figure.axes[0]
    assert {text.get_position(): text.get_text() for text in axes.texts} == {
        (0.5, 0.5): "0.94",
        (0.5, 1.5): "−0.20",
        (1.5, 1.5): "0.50",
    }
    (mesh,) = (found for found in axes.collections if isinstance(found, QuadMesh))
    assert mesh.get_array().tolist() == [[0.94, None], [-0.204, 0.5]]
    assert mesh.get_clim() == (-0.3, 1.0)
    (hatched,) = axes.patches
    assert (hatched.get_xy(), bool(hatched.get_hatch())) == ((1, 0), True)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["x", "y"]


def test_numbers_can_be_read_on_their_ground():
    """By the contrast of WCAG, which asks for 4.5 and for 3 in large letters."""
    values = np.linspace(0, 1, 21)
    axes = heat_map([values.tolist()], ["A"], [str(n) for n in range(21)]).axes[0]
    (mesh,) = (found for found in axes.collections if isinstance(found, QuadMesh))
    contrasts = []
    for value, text in zip(values, axes.texts, strict=True):
        light, dark = sorted((_luminance(mesh.to_rgba(value)[:3]), _luminance(mpl.colors.to_rgb(text.get_color()))))[
            ::-1
        ]
        contrasts.append((light + 0.05) / (dark + 0.05))
    assert min(contrasts) > 4


def _luminance(colour):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


@pytest.mark.parametrize(
    ("values", "ends"),
    [([0.31, 0.52], (0, 0.6)), ([-0.21], (-0.3, 0.1)), ([0.7], (0, 0.7)), ([math.nan], (0, 0.1)), ([0.0], (0, 0.1))],
)
def test_the_colour_scale_holds_all_values(values, ends):
    assert scale(np.array([values])) == pytest.approx(ends)


# Histogram


def test_a_histogram_stacks_the_families():
    draws = np.random.default_rng(1)
    parts = {"gan": draws.uniform(0, 5, 40), "": draws.uniform(1, 4, 25)}
    figure = histogram({"quality": parts, "alignment": {"gan": parts["gan"][:3], "": parts["gan"][3:]}})
    lower, upper = figure.axes[0].patches
    counts, edges = np.histogram(np.concatenate(list(parts.values())), BINS)
    np.testing.assert_array_equal(upper.get_data().values, counts)
    np.testing.assert_allclose(upper.get_data().edges, edges)
    np.testing.assert_array_equal(upper.get_data().baseline, lower.get_data().values)
    assert lower.get_data().values.sum() == 40
    assert [text.get_text() for text in figure.legends[0].texts] == ["gan", "family not known"]
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["quality", "alignment"]


# Effects


def test_effects_draw_values_and_intervals_in_the_rows_of_their_labels():
    rows = [
        Effect("A", "split", 0.1, 0.05, 0.15),
        Effect("A", "selection", None),
        Effect("B", "selection", -0.02, -0.03, -0.01),
        Effect("B", "split", 0.2),
    ]
    axes = effects(rows).axes[0]
    assert dots(axes, "o")[0][:, 0].tolist() == [0.1, 0.2]
    np.testing.assert_allclose(dots(axes, "s")[0][:, 0], [-0.02])
    intervals = [line.get_xdata() for line in axes.lines if line.get_linewidth() == 1.4]
    np.testing.assert_allclose(intervals, [[0.05, 0.15], [-0.03, -0.01]])
    assert any(list(line.get_xdata()) == [0, 0] for line in axes.lines)
    assert [text.get_text() for text in axes.figure.legends[0].texts] == ["split", "selection"]
    assert words(axes.figure) == ["not defined"]
    with pytest.raises(ValueError, match="not two"):
        effects([rows[0], rows[0]])


def test_effects_of_a_row_stand_around_its_label_and_a_row_is_as_high_as_what_it_has():
    rows = [Effect("A", name, 0.1 * place) for place, name in enumerate(("one", "two", "three"))]
    axes = effects([*rows, Effect("B", "two", 0.5), Effect("C", "three", 0.6)]).axes[0]
    a, b, c = axes.get_yticks()
    heights = {marker: dots(axes, marker)[0][:, 1] for marker in ("o", "s", "^")}
    np.testing.assert_allclose(heights["s"], [a, b])
    np.testing.assert_allclose([heights["o"][0] + heights["^"][0], heights["^"][1]], [2 * a, c])
    (first, second), bottom = axes.get_yticks(minor=True), axes.get_ylim()[0]
    np.testing.assert_allclose(second - first, bottom - second)
    assert first > second - first


# Gallery


def test_a_gallery_shows_images_and_says_which_is_missing(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (40, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    pictures = [
        Picture(str(tmp_path / "a.png"), "a.png", "a $prompt_{1}$ 100 %", "gan", 1.234, 2.0),
        Picture(str(tmp_path / "no.png"), "no.png", "", "", 3.0, 4.0),
        Picture("", "b.png", "long " * 100, "", 3.0, 4.0),
    ]
    figure = gallery(pictures)
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), pixels)
    assert [len(axes.images) for axes in figure.axes] == [1, 0, 0]
    assert words(figure).count("image not at hand") == 2
    assert figure.texts[0].get_text().split("\n")[:2] == ["MOS 1.23   Predicted 2.00   Error +0.77", "gan"]
    assert " ".join(figure.texts[0].get_text().split("\n")[2:]) == "a $prompt_{1}$ 100 %"
    assert figure.texts[1].get_text() == "MOS 3.00   Predicted 4.00   Error +1.00\nno.png"
    assert figure.texts[2].get_text().endswith("…")
    assert not any(text.get_parse_math() for text in figure.texts)
    assert thumbnail(tmp_path / "a.png", 20).shape == (20, 10, 3)


# Texts


@given(st.text(max_size=60), st.integers(1, 3))
@settings(deadline=None, max_examples=60)
def test_fitted_texts_fit(text, lines):
    width = 1.0
    with style():
        result = fitted(text, width, lines=lines)
        assert len(result.split("\n")) <= lines
        if len(one_line(text)) > 4:
            assert all(text_width(line) <= width for line in result.split("\n"))
        if text_width(one_line(text)) <= width:
            assert result == one_line(text)


def test_what_stands_in_brackets_moves_to_the_second_line():
    assert fitted("CLIP-AGIQA (Fu et al.) (demo CLIP ViT)", 1.5, lines=2) == "CLIP-AGIQA (Fu et al.)\n(demo CLIP ViT)"


def test_a_users_settings_are_neither_used_nor_changed():
    before = _settings()
    with mpl.rc_context({"axes.facecolor": "red", "text.usetex": True}):
        figure = strip([StripRow("A $x_{1}$", (0.5,), 0.5)])
        assert mpl.rcParams["text.usetex"]
    assert _settings() == before
    (label,) = figure.axes[0].get_yticklabels()
    assert (label.get_usetex(), label.get_parse_math()) == (False, False)
    assert figure.axes[0].get_facecolor() == (0, 0, 0, 0)


def _settings():
    return {key: mpl.rcParams[key] for key in mpl.rcParams if key != "backend"}  # to look at that one sets it


def test_many_methods_make_a_figure_higher_not_wider():
    few, many = (strip([StripRow(f"{n} " * 30, (0.5,), 0.5) for n in range(count)]) for count in (5, 40))
    assert few.get_figwidth() == many.get_figwidth() == WIDTH
    assert many.get_figheight() > 5 * few.get_figheight() / 2
