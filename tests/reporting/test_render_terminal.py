"""Tables on terminals of several widths and encodings."""

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from agiqa_bench.reporting.model import Chapter, Column, Number, Report, Row, Table
from agiqa_bench.reporting.render.terminal import table_to_terminal, to_terminal

METRICS = tuple(
    Column(title.lower(), title, ("demo",), spread=True, interval=title == "SRCC")
    for title in ("SRCC", "PLCC", "KRCC", "RMSE")
)


def table(*names: str, columns=METRICS) -> Table:
    number = Number(0.8, 0.05, 0.75, 0.85, 10)
    return Table("t", "Title", columns, tuple(Row(name, name, (number,) * len(columns)) for name in names))


def lines_of(renderable, width, **options) -> list[str]:
    console = Console(file=io.StringIO(), width=width, emoji=False, legacy_windows=False, **options)
    console.print(renderable)
    return console.file.getvalue().splitlines()


def styled(shown: Table, width: int = 100) -> str:
    return "\n".join(lines_of(table_to_terminal(shown, width), width, force_terminal=True, color_system="standard"))


@pytest.mark.parametrize("width", [30, 40, 60, 80, 100, 120, 200])
def test_no_line_is_wider_than_the_terminal_and_what_is_left_out_is_named(width):
    lines = lines_of(table_to_terminal(table("IP-IQA (demo CLIP RN) with a rather long name", "B"), width), width)
    assert max(map(cell_len, lines)) <= width
    head = " ".join(line for line in lines if line.startswith("Method")).split()
    said = " ".join(" ".join(lines).split())
    hidden = said.partition("want of columns: ")[2]
    for title in ("SRCC", "PLCC", "KRCC", "RMSE"):
        assert (title in head) != (f"demo {title}" in hidden)
    assert ("95 % intervals are not shown" in said) == ("[0.7500" not in said)


def heads(shown: Table, width: int) -> list[list[str]]:
    lines = lines_of(table_to_terminal(shown, width), width)
    return [line.split()[1:] for line in lines if line.startswith("Method")]


def test_what_does_not_fit_beside_the_names_follows_below():
    shown = table("a method with a name of its own")
    assert heads(shown, 95) == [["SRCC", "PLCC", "KRCC", "RMSE"]]
    assert heads(shown, 60) == [["SRCC", "PLCC"], ["KRCC", "RMSE"]]
    assert heads(shown, 30) == [["SRCC"], ["PLCC"], ["KRCC"]]
    assert "Title · demo (continued)" in lines_of(table_to_terminal(shown, 60), 60)


def test_an_interval_goes_below_its_number_before_it_is_left_out():
    shown = table("a method with a name of its own")
    below = lines_of(table_to_terminal(shown, 87), 87)
    place = next(place for place, line in enumerate(below) if "0.8000" in line)
    end = below[place].index(" ±0.0500") + len(" ±0.0500")
    assert below[place + 1][:end].endswith("[0.7500, 0.8500]")
    assert "[0.7500" in "\n".join(lines_of(table_to_terminal(shown, 60), 60))
    assert heads(shown, 78) == [["SRCC", "PLCC", "KRCC", "RMSE"]]
    assert "[0.7500" not in "\n".join(lines_of(table_to_terminal(shown, 78), 78))


def test_names_and_texts_are_folded_before_a_column_is_moved():
    text = Column("what", "What", text=True)
    words = "a text of many words that can be folded"
    shown = Table("t", "T", (text, text, Column("hand", "Figures", text=True)), (Row("a", words, (words, words, "x")),))
    assert heads(shown, 60) == [["What", "What", "Figures"]]


def test_a_groups_heading_is_not_folded_into_the_narrow_first_column():
    heading = "Image-level split instead of grouped, epoch chosen on validation"
    rows = tuple(Row(name, name, (Number(0.5),) * 4, group=heading) for name in ("a", "b"))
    assert heading in [line.strip() for line in lines_of(table_to_terminal(Table("t", "T", METRICS, rows), 80), 80)]


def test_best_is_bold_second_underlined_spread_dim_and_baselines_italic():
    cells = {"best": Number(0.9, 0.1), "second": Number(0.8, 0.1), "": Number(0.7, 0.1)}
    rows = [
        Row(mark, f"is {mark}", (Number(cell.value, cell.std, marks=frozenset({mark} - {""})),), diagnostic=not mark)
        for mark, cell in cells.items()
    ]
    text = styled(Table("t", "T", (Column("x", "X", spread=True),), tuple(rows)))
    assert "\x1b[1m0.9000\x1b[0m\x1b[2m ±0.1000\x1b[0m" in text
    assert "\x1b[4m0.8000\x1b[0m\x1b[2m ±0.1000\x1b[0m" in text
    assert "0.7000\x1b[2m ±0.1000\x1b[0m" in text
    assert "\x1b[3mis       \x1b[0m" in text


def test_tied_is_marked_behind_the_numbers_which_stay_under_one_another():
    tied = Number(0.7, 0.1, 0.6, 0.8, marks=frozenset({"tied"}))
    rows = [Row("a", "a", (Number(0.9, 0.1, 0.8, 1.0),)), Row("b", "b", (tied,)), Row("c", "c", (Number(-0.1),))]
    shown = Table("t", "T", (Column("x", "X", spread=True, interval=True),), tuple(rows))
    assert [line.strip() for line in lines_of(table_to_terminal(shown, 80), 80)[3:]] == [
        "a        0.9000 ±0.1000 [0.8000, 1.0000]",
        "b        0.7000 ±0.1000 [0.6000, 0.8000] ≈",
        "c       -0.1000",
    ]


def test_a_terminal_that_lacks_a_sign_gets_another():
    tied = Number(0.7, 0.1, marks=frozenset({"tied"}))
    shown = Table("t", "é → 中", (Column("x", "X", spread=True),), (Row("a", "a", (tied,)),), notes=("≈ is tied",))
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Console(file=stream, width=60).print(table_to_terminal(shown, 60, "ascii"))
    stream.flush()
    text = stream.buffer.getvalue().decode("ascii")
    assert "0.7000 +-0.1000 =" in text
    assert "= is tied" in text
    assert "? -> ?" in text
    assert "0.7000 ±0.1000 =" in "\n".join(lines_of(table_to_terminal(shown, 60, "latin-1"), 60))


def test_names_do_nothing_to_the_terminal():
    shown = table("[bold]x[/bold] \x1b[31mred\x1b[0m\nnew :smile:", columns=METRICS[:1])
    text = "\n".join(lines_of(table_to_terminal(shown, 120), 120))
    assert "[bold]x[/bold] [31mred [0m new :smile:" in text
    assert "\x1b" not in text


def test_long_texts_get_the_room_that_is_left():
    why = "a reason that takes more letters than a narrow column has to give"
    shown = Table("t", "T", (Column("why", "Why", text=True),), (Row("a", "a", (why,)),))
    assert any(why in line for line in lines_of(table_to_terminal(shown, 100), 100))
    assert not any(why in line for line in lines_of(table_to_terminal(shown, 50), 50))


def test_a_table_without_columns_or_rows():
    assert lines_of(table_to_terminal(Table("t", "T", (), (Row("a", "a", ()),)), 8), 8)[3:] == ["a     "]
    assert lines_of(table_to_terminal(Table("t", "T", (), ()), 80), 80)[0] == "T"


def test_warnings_stand_out():
    report = Report("R", (Chapter("c", "C", (), warnings=("not rated by people",)),), warnings=("do not mix",))
    text = "\n".join(lines_of(to_terminal(report, 60), 60, force_terminal=True, color_system="standard"))
    for warning in ("do not mix", "not rated by people"):
        assert f"\x1b[30;43m Warning \x1b[0m \x1b[33m{warning}\x1b[0m" in text
