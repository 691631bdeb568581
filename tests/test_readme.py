"""What says that the README's tables and pictures are stale, and that its tables do not contradict themselves."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

TABLE = """\
Target: quality

| Method | SRCC | RMSE (fit) |
| --- | ---: | ---: |
| One | **0.8019** ± 0.0357 [0.7542, 0.8496] | <ins>0.7081</ins> ± 0.0736 |
| *No pixel* | 0.7900 ± 0.0100 [0.7000, 0.8000] | undefined |
| Two | <ins>0.7781</ins> ± 0.0431 [0.7204, 0.8357] ≈ | **0.6753** ± 0.0548 |
| Three | -0.1000 ± 0.0431 [-0.7204, 0.8357] | 1.6753 ± 0.0548 |"""
HERE = f"{TABLE}\n\n<!-- computed on here -->"
ELSEWHERE = f"{TABLE}\n\n<!-- computed on elsewhere -->"


@pytest.mark.parametrize(
    ("old", "new"),
    [("0.7081", "0.7082"), (" ≈", ""), ("<ins>0.7781</ins>", "0.7781"), ("Three", "Four"), ("| Three", "| x\n| Three")],
)
def test_on_one_kind_of_machine_every_letter_counts(readme: ModuleType, old: str, new: str) -> None:
    assert readme.stale(HERE, HERE) == []
    assert readme.stale(HERE, HERE.replace(old, new))


def test_what_is_stale_is_shown_with_what_it_would_be(readme: ModuleType) -> None:
    line = "| *No pixel* | 0.7900 ± 0.0100 [0.7000, 0.8000] | undefined |"
    assert readme.stale(HERE, HERE.replace("0.7900", "0.7901")) == [
        f"'{line}' would be '{line.replace('00 ±', '01 ±', 1)}'"
    ]
    assert readme.stale(HERE, f"{HERE}\nmore") == ["10 lines would be 11"]


def test_on_another_kind_numbers_may_move_a_little_and_rows_stay(readme: ModuleType) -> None:
    assert readme.stale(HERE, ELSEWHERE) == []
    assert readme.stale(HERE, ELSEWHERE.replace("0.8019", "0.8218").replace(" ≈", "")) == []
    (far,) = readme.stale(HERE, ELSEWHERE.replace("0.8019", "0.8220"))
    assert far.startswith("Target: quality: One: [0.8019, 0.0357")
    (gone,) = readme.stale(HERE, ELSEWHERE.replace("Three", "Four"))
    assert gone == "rows come or go: Target: quality: Four, Target: quality: Three"
    assert readme.stale(HERE, ELSEWHERE.replace("0.7900 ± 0.0100", "undefined"))


def test_on_another_kind_order_and_marks_agree_with_what_is_shown(readme: ModuleType) -> None:
    first, second = (
        next(line for line in HERE.splitlines() if line.startswith(f"| {name}")) for name in ("One", "Two")
    )
    swapped = HERE.replace(first, "HERE").replace(second, first).replace("HERE", second)
    assert readme.stale(swapped, ELSEWHERE) == ["Target: quality: the rows are not in the order of their SRCC"]
    unmarked = HERE.replace("**0.8019**", "0.8019")
    assert readme.stale(unmarked, ELSEWHERE) == ["Target: quality: SRCC of no row is bold, not 0.8019"]
    largest = HERE.replace("1.6753", "**1.6753**").replace("**0.6753**", "0.6753")
    assert readme.stale(largest, ELSEWHERE) == ["Target: quality: RMSE (fit) of Three is bold, not 0.6753"]


def test_the_readmes_own_tables_do_not_contradict_themselves(readme: ModuleType) -> None:
    block = readme.block_of("demo table")
    assert readme.rows(block).keys() == {"Target: quality", "Target: alignment"}
    assert readme.contradictions(block) == []


def test_the_readmes_pictures_were_drawn_with_its_tables(readme: ModuleType) -> None:
    assert readme.foreign_pictures(readme.block_of("demo table")) == []
    assert readme.stale_sheet(same_kind=False) == []


def test_a_picture_of_another_table_is_found(readme: ModuleType, tmp_path: Path) -> None:
    figure, picture = tmp_path / "demo.svg", tmp_path / "demo.png"
    figure.write_text(f"<svg><!-- {readme.stamp(HERE)} --></svg>")
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(tmp_path / "plain.png")
    readme.stamp_picture(tmp_path / "plain.png", picture, readme.stamp(HERE))
    assert np.array_equal(np.asarray(Image.open(picture)), np.asarray(Image.open(tmp_path / "plain.png")))
    assert readme.foreign_pictures(HERE, figure, picture) == []
    assert readme.foreign_pictures(ELSEWHERE, figure, picture) == [
        "demo.svg was not drawn with the README's tables",
        "demo.png was not drawn with the README's tables",
    ]
    assert readme.foreign_pictures(HERE, figure, tmp_path / "plain.png") == [
        "plain.png was not drawn with the README's tables"
    ]


def test_a_contact_sheet_with_one_other_pixel_is_found(
    readme: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = np.zeros((20, 30, 3), dtype=np.uint8)
    monkeypatch.setattr(readme, "contact_sheet", lambda path: Image.fromarray(drawn).save(path))
    for pixels, here, elsewhere in ((0, True, True), (1, False, True), (60, False, False)):
        changed = drawn.copy()
        changed.reshape(-1, 3)[:pixels, 1] = 1
        Image.fromarray(changed).save(tmp_path / "sheet.png")
        assert (readme.stale_sheet(True, tmp_path / "sheet.png") == []) == here
        assert (readme.stale_sheet(False, tmp_path / "sheet.png") == []) == elsewhere
    Image.fromarray(drawn[:-1]).save(tmp_path / "sheet.png")
    assert readme.stale_sheet(False, tmp_path / "sheet.png") == ["sheet.png has another size now"]


def test_the_kind_of_machine_is_read_back(readme: ModuleType) -> None:
    here = readme.kind_of_machine()
    assert "instructions " in here
    assert "torch " in here
    assert readme.kind(f"Target: x\n\n<!-- computed on {here} -->") == here
    assert readme.kind(TABLE) == ""
