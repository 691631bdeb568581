"""Tables that are made to do harm, or were saved by a program with its own mind: refused in one line, or read right."""

from __future__ import annotations

import datetime as dt
import os
import re
import resource
import subprocess
import sys
import zipfile
from decimal import Decimal
from pathlib import Path

import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agiqa_bench.data import tables
from agiqa_bench.data.loose_files import check_images, from_folder, from_table
from agiqa_bench.datasets.table import TableDataset
from agiqa_bench.errors import BadImageError, DataError

HEADER = ["image", "prompt", "mos"]
CSV = "image,prompt,mos\n"
ROW = ["a.png", "a cat", 1.5]


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        TableDataset(path, annotations_only=True)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


def csv_file(folder: Path, content: str | bytes) -> Path:
    path = folder / "t.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def workbook(folder: Path, *rows: list[object]) -> Path:
    book = openpyxl.Workbook()
    for row in (HEADER, *rows):
        book.active.append(row)
    book.save(folder / "t.xlsx")
    return folder / "t.xlsx"


def rewritten(path: Path, **parts: bytes) -> Path:
    """A workbook with the content of some of its files replaced, by their stems."""
    with zipfile.ZipFile(path) as old:
        contents = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in contents.items():
            new.writestr(name, parts.get(Path(name).stem, content))
    return path


def sheet(*rows: str) -> bytes:
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    return f'<worksheet xmlns="{space}"><sheetData>{"".join(rows)}</sheetData></worksheet>'.encode()


def parquet(folder: Path, **columns: object) -> Path:
    plain = {"image": ["a.png"], "prompt": ["a cat"], "mos": [1.5]}
    pq.write_table(pa.table(plain | columns), folder / "t.parquet")
    return folder / "t.parquet"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ((CSV + "a.png,chât,1\n").encode("utf-16"), "not UTF-8"),
        ((CSV + "a.png,cat,1\n").encode("utf-16-le"), "NUL bytes, as UTF-16 does"),
        ((CSV + "a.png,chât,1\n").encode("latin-1"), "not UTF-8 text .byte"),
        (CSV + "a\0.png,cat,1\n", "NUL bytes"),
        (CSV + f"a.png,{'x' * 10_000_000},1\n", "larger than field limit"),
        (CSV + '"a.png,cat,1\n', "unexpected end of data"),
        ("image,image,prompt,mos\na,b,c,1\n", "'image' twice"),
        (CSV + "a.png,cat\n", "data row 1 has 2 cells where the header has 3"),
        (CSV + "a.png,cat,1e999\n", "'1e999' is not a finite number"),
        (CSV + "a.png,cat,-Infinity\n", "'-Infinity' is not a finite number"),
        (CSV + "a.png,cat,1_000\n", "'1_000' is not a finite number"),
        (CSV + "a.png,cat,0x10\n", "'0x10' is not a finite number"),
        (CSV + "a.png,cat,=1+1\n", "'=1.1' is not a finite number"),
        (CSV + f"a.png,cat,{'9' * 5000}\n", "is not a finite number"),
        ("image,prompt,mos_../../x\na.png,cat,1\n", "cannot be called '../../x'"),
        ("image,prompt,mos_\x1b[2J\na.png,cat,1\n", "cannot be called"),
        (f"image,prompt,mos_{'x' * 100}\na.png,cat,1\n", "at most 60 letters"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) or len(value) > 60 else None,
)
def test_csv(tmp_path: Path, content: str | bytes, why: str) -> None:
    message = refused(csv_file(tmp_path, content))
    assert re.search(why, message), message


def test_lines_end_where_a_spreadsheet_ends_them(tmp_path: Path) -> None:
    path = csv_file(tmp_path, 'image,prompt,mos\ra.png,one\u2028two\x0bthree,1\rb.png,"x\ny",2\r')
    table = TableDataset(path, annotations_only=True).samples
    assert table["prompt"].tolist() == ["one\u2028two\x0bthree", "x\ny"]


@pytest.mark.parametrize(
    ("mos", "why"),
    [
        (True, "'True' is not a finite"),
        (dt.date(2024, 1, 1), "'2024-01-01 00:00:00' is not a finite"),
        ("good", "'good' is not a finite"),
        (None, "'' is not a finite"),
        ("=1+1", "cell C2 is a formula without a stored value; open the table in a spreadsheet program"),
    ],
)
def test_workbook_cells(tmp_path: Path, mos: object, why: str) -> None:
    assert why in refused(workbook(tmp_path, ["a.png", "a cat", mos]))


def cell(value: str) -> str:
    return f'<c r="C2">{value}</c></row>'


ROW_1 = '<row r="1">' + "".join(
    f'<c r="{c}1" t="inlineStr"><is><t>{n}</t></is></c>' for c, n in zip("ABC", HEADER, strict=True)
)
ROW_2 = '</row><row r="2"><c r="A2" t="str"><v>a.png</v></c><c r="B2" t="str"><v>a cat</v></c>'


def test_a_formula_counts_as_the_value_that_was_stored_with_it(tmp_path: Path) -> None:
    path = rewritten(workbook(tmp_path, ROW), sheet1=sheet(ROW_1, ROW_2, cell("<f>1+1</f><v>2.25</v>")))
    assert TableDataset(path, annotations_only=True).samples["mos_quality"].tolist() == [2.25]


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ((ROW_1, ROW_2, cell("<v>1e999</v>")), "is not a finite number"),
        ((ROW_1, ROW_2, cell(f"<v>{'9' * 400}</v>")), "is not a finite number"),
        ((ROW_1, ROW_2, cell(f"<v>{'9' * 5000}</v>")), "cannot be read"),
        ((ROW_1, ROW_2, '<c r="C2" t="s"><v>7000</v></c></row>'), "cannot be read"),
        ((ROW_1, ROW_2, '<c r="C2" t="e"><v>#DIV/0!</v></c></row>'), "'#DIV/0!' is not a finite"),
        ((ROW_1, ROW_2, cell("<v>1</v>"), '<row r="99999999999"><c><v>1</v></c></row>'), "beyond the 1,048,576"),
        ((ROW_1, ROW_2, '<c r="ZZZZZZZZ2"><v>1</v></c></row>'), "cannot be read"),
        ((ROW_1, ROW_2), "cannot be read"),
        (("<row", "<<"), "cannot be read"),
        ((), "first sheet is empty"),
    ],
)
def test_sheets_that_no_program_wrote(tmp_path: Path, rows: tuple[str, ...], why: str) -> None:
    assert why in refused(rewritten(workbook(tmp_path, ROW), sheet1=sheet(*rows)))


def test_half_a_character_is_refused(tmp_path: Path) -> None:
    book = workbook(tmp_path, ROW)
    refusal = refused(rewritten(book, sheet1=sheet(ROW_1, ROW_2.replace("a cat", "&#xD800;"), cell("<v>1</v>"))))
    assert "cannot be read" in refusal


def test_a_workbook_that_unpacks_to_gigabytes_is_refused_before(tmp_path: Path) -> None:
    book = workbook(tmp_path, ROW)
    with zipfile.ZipFile(book, "a", zipfile.ZIP_DEFLATED) as file, file.open("xl/media.xml", "w") as part:
        for _ in range(70):
            part.write(bytes(2**20))
    assert book.stat().st_size < 2**20
    assert "unpacks to 73," in refused(book)


@pytest.mark.parametrize("part", ["sheet1", "styles", "workbook"])
def test_entities_are_refused(tmp_path: Path, part: str) -> None:
    bomb = b'<!DOCTYPE a [<!ENTITY b "c"><!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'
    book = workbook(tmp_path, ROW)
    assert "declares entities" in refused(rewritten(book, **{part: bomb}))


BOMB = '<!DOCTYPE a [<!ENTITY b "c">]>'
EMPTY = sheet().decode()


@pytest.mark.parametrize(
    "hidden",
    [
        f"<!--{' ' * 70_000}-->{BOMB}{EMPTY}".encode(),
        f"{' ' * 200_000}{BOMB}{EMPTY}".encode(),
        f"<?a {'b' * 2**21}?>{BOMB}{EMPTY}".encode(),
        f"<!--{' ' * 70_000}-->{BOMB}{EMPTY}".encode("utf-16"),
        b"\xfe\xff" + f"{BOMB}{EMPTY}".encode("utf-16-be"),
    ],
    ids=["comment", "blanks", "instruction", "utf-16", "utf-16-be"],
)
def test_entities_are_refused_however_late_they_are_declared(tmp_path: Path, hidden: bytes) -> None:
    assert "sheet1.xml declares entities" in refused(rewritten(workbook(tmp_path, ROW), sheet1=hidden))


def test_entities_are_refused_whatever_their_file_is_called(tmp_path: Path) -> None:
    book = workbook(tmp_path, ROW)
    with zipfile.ZipFile(book) as old:
        contents = {name: old.read(name) for name in old.namelist()}
    contents["xl/worksheets/sheet1.dat"] = BOMB.encode() + contents.pop("xl/worksheets/sheet1.xml")
    with zipfile.ZipFile(book, "w") as new:
        for name, content in contents.items():
            new.writestr(name, content.replace(b"worksheets/sheet1.xml", b"worksheets/sheet1.dat"))
    assert "sheet1.dat declares entities" in refused(book)


def test_what_only_looks_like_a_declaration_is_a_text(tmp_path: Path) -> None:
    book = workbook(tmp_path, ROW)
    shown = ROW_2.replace("a cat", f"<![CDATA[{BOMB}]]>")
    rewritten(book, sheet1=sheet(ROW_1, shown, cell("<v>1</v>")))
    with zipfile.ZipFile(book, "a") as file:
        file.writestr("xl/media/image1.svg", '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "svg11.dtd"><svg/>')
        file.writestr("xl/media/image2.png", b"\x89PNG" + BOMB.encode())
    assert TableDataset(book, annotations_only=True).samples["prompt"].tolist() == [BOMB]


def test_links_to_other_workbooks_and_macros_are_not_looked_at(tmp_path: Path) -> None:
    book = workbook(tmp_path, ROW)
    with zipfile.ZipFile(book, "a") as file:
        file.writestr("xl/vbaProject.bin", b"Sub AutoOpen()")
        file.writestr("xl/externalLinks/externalLink1.xml", b"<externalLink/>")
    assert TableDataset(book, annotations_only=True).samples["image"].tolist() == ["a.png"]


def test_a_workbook_with_a_password_says_so(tmp_path: Path) -> None:
    (tmp_path / "t.xlsx").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(5000))
    assert "has a password" in refused(tmp_path / "t.xlsx")


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"mos": [[1.0]]}, "'mos' holds list<element: double>; a table has plain values"),
        ({"prompt": [{"text": "a cat"}]}, "'prompt' holds struct"),
        ({"image": [b"\xff\xd8"]}, "'image' holds binary"),
        ({"mos": [True]}, "'True' is not a finite"),
        ({"mos": [dt.datetime(2024, 1, 1)]}, "is not a finite"),
        ({"mos": [float("nan")]}, "is not a finite"),
        ({"mos": pa.array([None], pa.float64())}, "is not a finite"),
        ({"MOS": [1.0]}, "'mos' twice"),
    ],
    ids=range(8),
)
def test_parquet(tmp_path: Path, columns: dict[str, object], why: str) -> None:
    assert why in refused(parquet(tmp_path, **columns))


def test_parquet_numbers_and_notes_of_pandas(tmp_path: Path) -> None:
    table = pa.table({"image": ["a.png"], "prompt": ["a cat"], "mos": [Decimal("2.50")]})
    pq.write_table(table.replace_schema_metadata({b"pandas": b'{"index_columns": ["gone"'}), tmp_path / "t.parquet")
    assert TableDataset(tmp_path / "t.parquet", annotations_only=True).samples["mos_quality"].tolist() == [2.5]


def test_a_text_that_parquet_stores_once_and_means_a_million_times(tmp_path: Path) -> None:
    rows = 200_000
    once = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), ["x" * 100_000])
    parquet(tmp_path, image=["a.png"] * rows, prompt=once, mos=[1.0] * rows)
    assert (tmp_path / "t.parquet").stat().st_size < 2**20
    assert "letters, which are the most" in refused(tmp_path / "t.parquet")


@pytest.mark.parametrize("suffix", ["csv", "xlsx", "parquet"])
def test_too_many_rows_or_cells_are_refused_while_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    frame = pd.DataFrame({"image": ["a.png"] * 300, "prompt": "p", "mos": 1.0})
    path = tmp_path / f"t.{suffix}"
    {"csv": frame.to_csv, "xlsx": frame.to_excel, "parquet": frame.to_parquet}[suffix](path, index=False)
    assert len(TableDataset(path, annotations_only=True).samples) == 300
    monkeypatch.setattr(tables, "MOST_CELLS", 800)
    assert "more than 800 cells" in refused(path)
    monkeypatch.setattr(tables, "MOST_ROWS", 200)
    assert "more than 200 rows" in refused(path)


MEASURE = """
import sys
from agiqa_bench.data.tables import read_table
from agiqa_bench.errors import DataError
from pathlib import Path
try:
    read_table(Path(sys.argv[1]))
except DataError as error:
    print(error)
print(next(line.split()[1] for line in Path("/proc/self/status").open() if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ten_million_rows_are_refused_in_less_than_a_gigabyte(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    with path.open("w") as file:
        file.write(CSV)
        for _ in range(100):
            file.write("a.png,p,1\n" * 100_000)
    done = subprocess.run([sys.executable, "-c", MEASURE, path], capture_output=True, text=True, check=True)
    line, peak = done.stdout.splitlines()
    assert line.endswith("it has more than 1,000,000 rows, which are the most; split it")
    assert int(peak) < 1_000_000


def test_a_file_that_is_too_large_is_not_opened(tmp_path: Path) -> None:
    path = csv_file(tmp_path, CSV)
    os.truncate(path, 2**30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "has 1,073,741,824 bytes where 134,217,728 are the most" in refused(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss == before


@pytest.mark.parametrize(("make", "kind"), [(os.mkdir, "a folder"), (os.mkfifo, "a device or a pipe")])
@pytest.mark.parametrize("name", ["t.csv", "t.xlsx", "t.parquet"])
def test_what_is_no_file(tmp_path: Path, make: object, kind: str, name: str) -> None:
    make(tmp_path / name)
    assert f"is {kind}, not a file" in refused(tmp_path / name)


@pytest.mark.parametrize("name", ["pipe", "folder.png", "../x/../../etc/not-there", "/dev/zero", "~nobody/x"])
def test_paths_in_a_table_lead_to_files_or_nowhere(tmp_path: Path, name: str) -> None:
    """They may leave the folder of the table, which is the user's own; what is no file there is a missing image."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder.png").mkdir()
    path = csv_file(tmp_path, f"{CSV}{name},p,1\n")
    assert TableDataset(path).missing_images == [name]
    with pytest.raises(BadImageError):
        check_images(from_table(path).paths)


def test_a_nul_in_a_path_is_a_missing_image(tmp_path: Path) -> None:
    path = parquet(tmp_path, image=["a\0.png"])
    assert TableDataset(path).missing_images == ["a\0.png"]
    with pytest.raises(BadImageError):
        check_images(from_table(path).paths)


def test_a_table_of_a_home_that_nobody_has_is_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    csv_file(tmp_path, f"{CSV}~nobody/x.png,p,1\n")
    with pytest.raises(BadImageError, match=r"/~nobody/x\.png"):
        check_images(from_table(Path("t.csv")).paths)


def test_names_of_files_may_be_any_bytes(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / os.fsdecode(b"\xff.png")).touch()
    found = from_folder(tmp_path / "images")
    assert found.names == ("\ufffd.png",)
    assert found.paths[0].exists()


def with_merged(folder: Path, ranges: str) -> Path:
    """A sound workbook whose sheet says besides that these ranges are merged."""
    path = workbook(folder, ["a.png", "p", 1], ["b.png", "", 2])
    with zipfile.ZipFile(path) as file:
        sheet = file.read("xl/worksheets/sheet1.xml")
    assert b"</sheetData>" in sheet
    merged = f"</sheetData><mergeCells>{ranges}</mergeCells>".encode()
    rewritten(path, sheet1=sheet.replace(b"</sheetData>", merged))
    return path


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ('<mergeCell ref="B2:B3"/><mergeCell ref="A3:C3"/>', "merged cells of its first sheet overlap"),
        ('<mergeCell ref="B:B"/>', "'B:B' is no range of merged cells"),
        ('<mergeCell ref="B2:"/>', "B2:"),
        ("<mergeCell/>", "cannot be read"),
        ('<mergeCell ref="A9:B9"/>' * (2**18 + 1), "more than 262,144 ranges of merged cells"),
    ],
)
def test_impossible_merged_cells_are_one_line(tmp_path: Path, ranges: str, message: str) -> None:
    assert message in refused(with_merged(tmp_path, ranges))


def test_merged_cells_without_end_fill_the_rows_that_are_there(tmp_path: Path) -> None:
    path = with_merged(tmp_path, '<mergeCell ref="B2:B1048576"/>')
    assert TableDataset(path, annotations_only=True).samples["prompt"].tolist() == ["p", "p"]
