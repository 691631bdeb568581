"""CSV: every digit back, and nothing that a spreadsheet would run."""

import csv
import io

from hypothesis import given, settings
from hypothesis import strategies as st

from agiqa_bench.harmless import one_line
from agiqa_bench.reporting.model import Column, Number, Row, Table
from agiqa_bench.reporting.render.comma_separated import table_to_csv


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


finite = st.floats(allow_nan=False, allow_infinity=False)


@settings(deadline=None)
@given(finite, finite, finite, st.integers(0, 100))
def test_numbers_read_back_as_the_same_floats(value, low, high, n):
    columns = (Column("x", "X", spread=True), Column("y", "Y"))
    (line,) = read(
        table_to_csv(Table("t", "T", columns, (Row("a", "A", (Number(value, None, low, high, n), Number(value))),)))
    )
    assert [float(line[key]) for key in ("x_mean", "x_low", "x_high", "y")] == [value, low, high, value]
    assert line["x_std"] == ""
    assert line["x_n"] == str(n)


@settings(deadline=None)
@given(st.text(), st.text())
def test_texts_read_back_and_are_no_formulas(name, text):
    (line,) = read(table_to_csv(Table("t", "T", (Column("x", "X", text=True),), (Row("a", name, (text,)),))))
    for shown, meant in ((line["name"], name), (line["x"], text)):
        assert shown in (one_line(meant), f"'{one_line(meant)}")
        assert len(shown) < 2 or shown[0] not in "=+-@"


def test_fields_of_each_kind_of_column():
    columns = (
        Column("text", "T", text=True),
        Column("spread", "S", spread=True),
        Column("repeats", "R"),
        Column("plain", "P"),
        Column("marked", "M"),
    )
    cells = ("-", Number(None), Number(1.0, n=3), Number(3.0), Number(0.1, marks=frozenset({"tied", "second"})))
    (line,) = read(table_to_csv(Table("t", "T", columns, (Row("a", "A", cells, "G"),), head="Data set")))
    parts = ("mean", "std", "low", "high", "n", "marks")
    assert line == {
        "data set": "a",
        "name": "A",
        "group": "G",
        "text": "-",
        **dict(zip([f"spread_{part}" for part in parts], ["", "", "", "", "0", ""], strict=True)),
        **dict(zip([f"repeats_{part}" for part in parts], ["1", "", "", "", "3", ""], strict=True)),
        "plain": "3",
        "marked": "0.1",
        "marked_marks": "second tied",
    }
