from __future__ import annotations

from pathlib import Path

import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from agiqa_bench.data.catalogue import open_dataset
from agiqa_bench.data.dataset import Dataset, parse_mos_range
from agiqa_bench.data.verify import verify
from agiqa_bench.datasets.table import TableDataset
from agiqa_bench.errors import ConfigError, DataError, DataNotFoundError, UnknownNameError
from agiqa_bench.evaluation.splits import make_splits

TEXT = 'image,prompt,mos\na.png,a cat,1.5\nb.png,a cat,3\nsub/c.png,"a dog, running",4.25\n'


def write(folder: Path, text: str, name: str = "mine.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def save_images(folder: Path) -> None:
    (folder / "sub").mkdir(parents=True, exist_ok=True)
    for name in ("a.png", "b.png", "sub/c.png"):
        Image.new("RGB", (4, 4)).save(folder / name)


def test_columns_and_defaults(tmp_path: Path) -> None:
    save_images(tmp_path)
    dataset = TableDataset(write(tmp_path, TEXT))
    assert dataset.name == "mine"
    (target,) = dataset.targets
    # What the ratings happen to span is no range of their scale, and holds those of test images.
    assert (target.name, target.mos_range) == ("quality", None)
    table = dataset.samples
    assert table["mos_quality"].tolist() == [1.5, 3.0, 4.25]
    assert table["group"].tolist() == ["a cat", "a cat", "a dog, running"]
    assert set(table["generator"]) == set(table["family"]) == {"unknown"}
    assert table["path"].iloc[2] == str(tmp_path / "sub" / "c.png")
    assert dataset.has_images
    assert dataset.faults == ()


def test_own_groups_generators_and_targets(tmp_path: Path) -> None:
    text = "MOS_Alignment, mos_fun ,Generator,Group,Prompt,Image,note\n1,10,g1,x,p,a.png,-\n2,20,,x,q,b.png,-\n"
    dataset = TableDataset(write(tmp_path, text), annotations_only=True)
    assert [(t.name, t.mos_range) for t in dataset.targets] == [("alignment", None), ("fun", None)]
    table = dataset.samples
    assert table["generator"].tolist() == ["g1", "unknown"]
    assert table["group"].tolist() == ["x", "x"]
    assert table["mos_fun"].tolist() == [10.0, 20.0]


def test_rows_without_a_prompt_stand_for_themselves(tmp_path: Path) -> None:
    dataset = TableDataset(write(tmp_path, "image,prompt,mos\na.png,,1\nb.png,,2\n"), annotations_only=True)
    assert dataset.samples["group"].tolist() == ["a.png", "b.png"]


def test_images_are_looked_for_in_the_data_root_first(tmp_path: Path) -> None:
    save_images(tmp_path / "elsewhere")
    path = write(tmp_path, TEXT)
    assert TableDataset(path, tmp_path / "elsewhere").has_images
    lost = TableDataset(path)
    assert lost.missing_images == ["a.png", "b.png", "sub/c.png"]
    assert str(tmp_path / "a.png") in lost.faults[0].message


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("semicolon.csv", "image;prompt;mos\na.png;a cat;1,5\nb.png;a cat;3\nsub/c.png;a dog, running;4,25\n"),
        ("tab.tsv", "image\tprompt\tmos\na.png\ta cat\t1.5\nb.png\ta cat\t3\nsub/c.png\ta dog, running\t4.25\n"),
        ("crlf.csv", TEXT.replace("\n", "\r\n")),
        ("blank.csv", TEXT + "\n\n"),
        ("bom.csv", "\ufeff" + TEXT),
    ],
)
def test_dialects_read_the_same(tmp_path: Path, name: str, text: str) -> None:
    plain = TableDataset(write(tmp_path, TEXT), annotations_only=True).samples
    pd.testing.assert_frame_equal(TableDataset(write(tmp_path, text, name), annotations_only=True).samples, plain)


def test_parquet_and_excel_read_the_same(tmp_path: Path) -> None:
    plain = TableDataset(write(tmp_path, TEXT), annotations_only=True).samples
    frame = pd.read_csv(tmp_path / "mine.csv")
    frame.to_parquet(tmp_path / "mine.parquet")
    frame.to_excel(tmp_path / "mine.xlsx", index=False)
    for suffix in ("parquet", "xlsx"):
        same = TableDataset(tmp_path / f"mine.{suffix}", annotations_only=True)
        pd.testing.assert_frame_equal(same.samples, plain)


def test_the_user_states_the_range_of_each_target_or_of_all(tmp_path: Path) -> None:
    path = str(write(tmp_path, "image,prompt,mos_alignment,mos_fun\na.png,p,1,10\nb.png,q,5,20\n"))

    def ranges(*texts: str) -> dict[str, tuple[float, float] | None]:
        dataset = open_dataset(path, annotations_only=True, mos_ranges=dict(map(parse_mos_range, texts)))
        assert len(dataset.samples) == 2
        return {target.name: target.mos_range for target in dataset.targets}

    assert ranges("0,100") == {"alignment": (0, 100), "fun": (0, 100)}
    assert ranges("0,100", "alignment=1,5") == {"alignment": (1, 5), "fun": (0, 100)}
    assert ranges("alignment=1,5") == {"alignment": (1, 5), "fun": None}
    with pytest.raises(UnknownNameError, match="target of mine in --mos-range 'quality'"):
        ranges("quality=1,5")
    with pytest.raises(DataError) as caught:
        ranges("fun=0,15")
    assert str(caught.value) == (
        "data set 'mine': 1 MOS of 'fun' lie outside of its stated range, 0 to 15 (first: row 1, b.png: 20); "
        "mend them or the range"
    )
    report = verify(open_dataset(path, annotations_only=True, mos_ranges={"fun": (0, 15)}))
    assert [finding.code for finding in report.findings if finding.code == "mos-out-of-range"] == ["mos-out-of-range"]
    with pytest.raises(ConfigError, match=r"'demo' states it itself \(quality 0 to 5, .*\); leave it out"):
        open_dataset("demo", mos_ranges={"*": (0, 5)})


def test_a_parquet_column_states_its_range_in_its_metadata(tmp_path: Path) -> None:
    def dataset(text: str, **ranges: tuple[float, float]) -> Dataset:
        fields = [pa.field("image", pa.string()), pa.field("prompt", pa.string()), pa.field("mos_fun", pa.float64())]
        fields.append(pa.field("Mos ", pa.float64(), metadata={"mos_range": text}))
        columns = [["a.png", "b.png"], ["p", "q"], [1.0, 7.0], [1.0, 5.0]]
        pq.write_table(pa.Table.from_arrays([pa.array(c) for c in columns], schema=pa.schema(fields)), path)
        return open_dataset(str(path), annotations_only=True, mos_ranges=ranges)

    path = tmp_path / "mine.parquet"
    assert {t.name: t.mos_range for t in dataset("0, 10").targets} == {"fun": None, "quality": (0, 10)}
    assert {t.name: t.mos_range for t in dataset("0,10", fun=(0, 7)).targets} == {"fun": (0, 7), "quality": (0, 10)}
    with pytest.raises(ConfigError, match=r"'mine' states it itself \(quality 0 to 10\)"):
        dataset("0,10", quality=(0, 7))
    with pytest.raises(DataError, match=r"mine\.parquet: the metadata 'mos_range' of column 'mos' is '5 to 1'; write"):
        dataset("5 to\n1")


@pytest.mark.parametrize("text", ["", "1", "5,1", "1,1", "0,inf", "nan,5", "1,2,3", "=1,5", "a,b", "1;5"])
def test_what_is_no_range_is_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--mos-range '.*': write the lowest and the highest rating"):
        parse_mos_range(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("image,prompt,mos\n", "a header and no rows"),
        ("image,mos\na,1\n", r"no column 'prompt' \(it has: image, mos\)"),
        ("image,prompt,score\na,p,1\n", "no column 'mos' or 'mos_<target>'"),
        ("image,prompt,mos\na.png,p,1\nb.png,p,\n", r"column 'mos', data row 2 \(b\.png\): '' is not a finite number"),
        ("image,prompt,mos\na.png,p,nan\n", r"data row 1 \(a\.png\): 'nan'"),
        ("image,prompt,mos\na.png,p,inf\n", "'inf' is not a finite"),
        ("image,prompt,mos\na.png,p,good\n", "'good' is not a finite"),
        ("image,prompt,mos,mos\na.png,p,1,2\n", "column 'mos' twice"),
        ("image,prompt,mos,Mos \na.png,p,1,2\n", "column 'mos' twice"),
        ("image,prompt,mos,mos_quality\na.png,p,1,2\n", "both 'mos' and 'mos_quality'"),
        ("image,prompt,mos\na.png,a cat, sitting,1\n", "data row 1 has 4 cells where the header has 3"),
        ("image,prompt,mos\n,p,1\n", "data row 1 names no image"),
    ],
)
def test_bad_table_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        TableDataset(write(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert "mine.csv" in str(caught.value)


def test_bad_files_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="no such file"):
        TableDataset(tmp_path / "none.csv")
    with pytest.raises(DataError, match="not UTF-8"):
        TableDataset(write(tmp_path, TEXT.replace("cat", "chât"), encoding="latin-1"))
    with pytest.raises(DataError, match=r"'\.json' is not a known kind"):
        TableDataset(write(tmp_path, "{}", "mine.json"))
    for name in ("mine.parquet", "mine.xlsx"):
        with pytest.raises(DataError, match="cannot be read"):
            TableDataset(write(tmp_path, "neither", name))


def test_a_row_twice_is_kept_and_told(tmp_path: Path) -> None:
    dataset = TableDataset(write(tmp_path, "image,prompt,mos\na.png,p,1\na.png,p,2\n"), annotations_only=True)
    assert len(dataset.samples) == 2
    assert [(fault.code, fault.known) for fault in dataset.faults] == [("duplicate-row", True)]


def test_several_ratings_of_one_image_do_not_fail_verification(tmp_path: Path) -> None:
    save_images(tmp_path)
    Image.new("RGB", (4, 4), "red").save(tmp_path / "b.png")
    Image.new("RGB", (4, 4), "blue").save(tmp_path / "sub" / "c.png")
    rows = [f"{name},p,{mos}\n" for name in ("a.png", "b.png", "sub/c.png") for mos in (1, 2, 3)]
    report = verify(TableDataset(write(tmp_path, "image,prompt,mos\n" + "".join(rows))))
    assert report.ok
    assert [(finding.code, finding.severity) for finding in report.findings] == [("duplicate-row", "known")]
    assert "3 image(s) of mine.csv have several rows (first: a.png, 3 rows)" in report.findings[0].message


def test_blank_cells_are_as_if_the_column_were_absent(tmp_path: Path) -> None:
    text = "image,prompt,mos,group,generator\na.png,p,1,,\nb.png,p,2,g, \nc.png,q,3, ,x\nd.png,,4,,\n"
    table = TableDataset(write(tmp_path, text), annotations_only=True).samples
    assert table["group"].tolist() == ["p", "g", "q", "d.png"]
    assert table["generator"].tolist() == table["family"].tolist() == ["unknown", "unknown", "x", "unknown"]


def test_an_impossible_name_is_one_line_and_a_strange_one_is_missing(tmp_path: Path) -> None:
    dataset = TableDataset(write(tmp_path, f"image,prompt,mos\na.png,p,1\n{'x' * 300}.png,p,2\n"))
    with pytest.raises(
        DataError, match=r"data row 2: cannot look for 'x{60}\.\.\.' \(.*too long\); mend the name"
    ) as caught:
        _ = dataset.samples
    assert "\n" not in str(caught.value)
    assert TableDataset(write(tmp_path, "image,prompt,mos\nmine.csv/a.png,p,1\n")).missing_images == ["mine.csv/a.png"]


cells = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp", "Zs")), min_size=1, max_size=12)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(cells, cells, st.floats(-1e6, 1e6)), min_size=1, max_size=8))
def test_what_is_written_is_what_is_read(tmp_path: Path, rows: list[tuple[str, str, float]]) -> None:
    frame = pd.DataFrame(rows, columns=["image", "prompt", "mos"])
    frame.to_csv(tmp_path / "any.csv", index=False)
    table = TableDataset(tmp_path / "any.csv", annotations_only=True).samples
    assert table["image"].tolist() == [row[0] for row in rows]
    assert table["prompt"].tolist() == [row[1] for row in rows]
    assert table["mos_quality"].tolist() == [row[2] for row in rows]


def test_all_spellings_of_a_prompt_are_one_group_whatever_the_order_of_rows(tmp_path: Path) -> None:
    prompts = ["Caf\u00e9  noir", "cafe\u0301 noir", "CAF\u00c9 NOIR", "cafe noir"]
    rows = [f"{number}.png,{prompt},{number}\n" for number, prompt in enumerate(prompts)]
    for order in (rows, rows[::-1]):
        table = TableDataset(write(tmp_path, "image,prompt,mos\n" + "".join(order)), annotations_only=True).samples
        groups = dict(zip(table["image"], table["group"], strict=True))
        assert groups == {
            "0.png": "CAF\u00c9 NOIR",
            "1.png": "CAF\u00c9 NOIR",
            "2.png": "CAF\u00c9 NOIR",
            "3.png": "cafe noir",
        }
        assert sorted(table["prompt"]) == sorted(prompts)


def workbook(path: Path, rows: list[list[object]], *merged: str) -> Path:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    for cells in merged:
        book.active.merge_cells(cells)
    book.save(path)
    return path


def test_merged_cells_have_the_value_that_is_shown_over_them(tmp_path: Path) -> None:
    rows = [
        ["image", "prompt", "generator", "mos", "mos_alignment"],
        ["a.png", "a cat", "g", 1, 2],
        ["b.png", None, None, 3, 4],
        ["c.png", "a dog", "h", 5, None],
        ["d.png", None, "g", 6, 7],
    ]
    # The last range goes on where there are no rows.
    path = workbook(tmp_path / "t.xlsx", rows, "B2:B3", "C2:C3", "D4:E4", "B4:B90")
    table = TableDataset(path, annotations_only=True).samples
    assert table["prompt"].tolist() == table["group"].tolist() == ["a cat", "a cat", "a dog", "a dog"]
    assert table["generator"].tolist() == ["g", "g", "h", "g"]
    assert table["mos_quality"].tolist() == [1, 3, 5, 6]
    assert table["mos_alignment"].tolist() == [2, 4, 5, 7]


def test_merged_groups_are_not_taken_for_blank_ones(tmp_path: Path) -> None:
    rows = [["image", "prompt", "mos", "group"]]
    rows += [[f"{n}.png", f"p{n // 3}", n, f"scene {n // 6}" if n % 6 == 0 else None] for n in range(12)]
    table = TableDataset(workbook(tmp_path / "t.xlsx", rows, "D2:D7", "D8:D13"), annotations_only=True).samples
    assert table["group"].tolist() == ["scene 0"] * 6 + ["scene 1"] * 6


def test_a_group_finer_than_the_prompts_is_kept_and_the_leak_is_told(tmp_path: Path) -> None:
    rows = [f"{n}.png,p{n // 4},batch{n % 4},{n}\n" for n in range(20)]
    dataset = TableDataset(write(tmp_path, "image,prompt,group,mos\n" + "".join(rows)), annotations_only=True)
    assert set(dataset.samples["group"]) == {"batch0", "batch1", "batch2", "batch3"}
    assert {split.leakage.prompt for split in make_splits(dataset.samples, dataset.name)} == {1.0}
    assert {split.leakage.group for split in make_splits(dataset.samples, dataset.name)} == {0.0}
    assert [(fault.code, fault.warning) for fault in dataset.faults] == [("divided-prompt", True)]
