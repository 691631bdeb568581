"""How numbers are written, and how tables are laid out before any mark-up."""

from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agiqa_bench.harmless import one_line
from agiqa_bench.reporting.digits import NumberText, number_text
from agiqa_bench.reporting.model import Column, Number, Row, Table
from agiqa_bench.reporting.render.layout import Span, grouped, heading_levels

PLAIN = Column("x", "x")


@pytest.mark.parametrize(
    ("number", "settings", "shown"),
    [
        (Number(0.80193, 0.1, 0.7, 0.9), {}, NumberText("0.8019")),
        (Number(0.80193, 0.03566, 0.7, 0.9), {"spread": True}, NumberText("0.8019", "0.0357")),
        (Number(0.5, None, 0.4, 0.6), {"spread": True, "interval": True}, NumberText("0.5000", "", "0.4000", "0.6000")),
        (Number(0.5, 0.1, 0.4), {"interval": True}, NumberText("0.5000")),
        (Number(-0.00004, 0.0), {"spread": True}, NumberText("0.0000", "0.0000")),
        (Number(None, 0.1), {"spread": True, "missing": "-"}, NumberText("-")),
        (Number(0.0132), {"signed": True, "decimals": 3}, NumberText("+0.013")),
        (Number(-0.0132), {"signed": True, "decimals": 3}, NumberText("-0.013")),
        (Number(0.0001), {"signed": True, "decimals": 3}, NumberText("0.000")),
        (Number(14410752.0), {"signed": True, "decimals": 0}, NumberText("+14,410,752")),
        (Number(-1234.5), {"decimals": 0}, NumberText("-1,234")),
        (Number(1234.5), {"decimals": 2}, NumberText("1234.50")),
        (Number(0.00049), {"p_value": True, "decimals": 3}, NumberText("<0.001")),
        (Number(0.00051), {"p_value": True, "decimals": 3}, NumberText("0.001")),
        (Number(1.0), {"p_value": True, "decimals": 2}, NumberText("1.00")),
    ],
)
def test_number_text(number, settings, shown):
    assert number_text(number, Column("x", "x", **settings)) == shown


@settings(deadline=None)
@given(st.floats(-1e6, 1e6), st.integers(1, 6))
def test_numbers_are_rounded_as_exact_decimals_are(value, decimals):
    exact = Decimal(value).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_EVEN)
    shown = number_text(Number(value), Column("x", "x", decimals=decimals)).value
    assert Decimal(shown) == exact
    assert not (shown.startswith("-") and exact == 0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_no_number_of_a_table(value):
    with pytest.raises(ValueError, match="not defined is None"):
        number_text(Number(value), PLAIN)
    with pytest.raises(ValueError, match="not defined is None"):
        number_text(Number(0.5, value), Column("x", "x", spread=True))


def test_headings_are_shared_by_neighbours_under_the_same_outer_heading():
    overs = [("A", "q"), ("A", "q"), ("A", "r"), ("B", "r"), ("s",), ()]
    levels = heading_levels([Column(str(i), "x", over) for i, over in enumerate(overs)])
    assert levels == [
        [Span("A", 0, 3), Span("B", 3, 1), Span("", 4, 2)],
        [Span("q", 0, 2), Span("r", 2, 1), Span("r", 3, 1), Span("s", 4, 1), Span("", 5, 1)],
    ]
    assert heading_levels([PLAIN]) == []
    assert heading_levels([]) == []


def test_rows_of_one_group_stand_together():
    rows = tuple(Row(key, key, (), group) for key, group in (("a", ""), ("b", "G"), ("c", "G"), ("d", "")))
    found = [(group, [row.key for row in members]) for group, members in grouped(Table("t", "t", (), rows))]
    assert found == [("", ["a"]), ("G", ["b", "c"]), ("", ["d"])]


@settings(deadline=None)
@given(st.text())
def test_one_line_holds_nothing_that_a_terminal_would_act_on(text):
    line = one_line(text)
    assert line.isprintable()
    assert line == line.strip()
    assert one_line(line) == line
