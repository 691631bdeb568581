"""The tables of the protocol: what a command is given, and what is made of what it writes."""

from __future__ import annotations

import csv
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from agiqa_bench.data.image_cache import ImageCache
from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import StoreError
from agiqa_bench.external import pngs
from agiqa_bench.external.command import Command, CommandError
from agiqa_bench.external.protocol import read_scores, score, write_table
from agiqa_bench.method import Context

PROMPTS = ['a "red" apple, on a table', "two\nlines", "ein Käse 🧀", "=1+1"]
TARGETS = ("quality", "alignment")
COMMAND = Command("external", "score.sh", ("sh",), 20, {})


@pytest.fixture
def samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Samples:
    monkeypatch.setattr(pngs, "_written", None)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    rng = np.random.RandomState(0)
    names = []
    for number in range(len(PROMPTS)):
        names.append(f"{number}.jpg")
        Image.fromarray(rng.randint(0, 256, (9 + number, 12, 3), dtype=np.uint8)).save(tmp_path / names[-1])
    table = pd.DataFrame(
        {
            "image": names,
            "prompt": PROMPTS,
            "generator": ["g", "h", "", "g"],
            "group": PROMPTS,
            "mos_quality": [1.0, 2.5, 3.25, 0.1],
            "mos_alignment": [5.0, 4.0, 1 / 3, 2.0],
        }
    )
    return Samples(table, TARGETS, ImageCache([tmp_path / name for name in names], tmp_path / "cache"))


def test_a_command_is_given_every_pixel_and_every_letter(samples: Samples, tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", [samples.subset([2, 0]), samples.subset([1])], Context(targets=TARGETS))
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "image", "prompt", "generator"]
    assert [row["id"] for row in rows] == ["2", "0", "1"]
    assert [row["prompt"] for row in rows] == [PROMPTS[2], PROMPTS[0], PROMPTS[1]]
    assert [row["generator"] for row in rows] == ["", "g", "h"]
    for row in rows:
        path = Path(row["image"])
        assert path.is_absolute()
        assert stat.S_IMODE(path.stat().st_mode) == 0o444
        with Image.open(path) as image:
            assert (image.format, image.mode) == ("PNG", "RGB")
            np.testing.assert_array_equal(np.asarray(image), samples.images[int(row["id"])])


def test_ratings_are_given_to_learn_from_to_the_last_digit(samples: Samples, tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", [samples], Context(targets=TARGETS), mos=True)
    table = pd.read_csv(tmp_path / "t.csv")
    np.testing.assert_array_equal(table[["mos_quality", "mos_alignment"]], samples.mos)
    write_table(tmp_path / "t.csv", [], Context(targets=TARGETS), mos=True)
    assert (tmp_path / "t.csv").read_text() == "id,image,prompt,generator,mos_quality,mos_alignment\n"


def test_images_are_written_once_for_all_calls(samples: Samples, tmp_path: Path) -> None:
    steps: list[Any] = []
    first = pngs.png_files(samples.subset([0, 2]), lambda *step: steps.append(step))
    assert steps == [(1, 2, "writing PNGs"), (2, 2, "writing PNGs")]
    times = [path.stat().st_mtime_ns for path in first]
    again = pngs.png_files(samples, lambda *step: steps.append(step))
    assert [again[0], again[2]] == first
    assert [path.stat().st_mtime_ns for path in first] == times
    assert len(steps) == 4
    other = Samples(pd.DataFrame({"image": ["1.jpg"]}), TARGETS, ImageCache([tmp_path / "1.jpg"], tmp_path / "cache"))
    pngs.png_files(other, lambda *step: None)
    assert not any(path.exists() for path in again)


def test_a_full_disk_is_said_in_one_line(samples: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Image.Image, *arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(StoreError, match=r"No space left on device; set TMPDIR"):
        pngs.png_files(samples, lambda *step: None)


def test_a_call_gives_scores_and_leaves_no_table(samples: Samples, tmp_path: Path) -> None:
    # awk is fooled by the line break in a prompt: what is not an id is left out.
    program = 'BEGIN {print "score,id"} /^[0-9]+,/ {print 10 * $1 "," $1}'
    words = ("sh", "-c", f"awk -F, '{program}' {{input}} > {{output}}")
    command = Command("external", "awk", words, 20, {})
    np.testing.assert_array_equal(
        score(command, samples.subset([3, 1, 0]).hidden(), Context(targets=TARGETS)), [30, 10, 0]
    )
    assert not list(tmp_path.glob("agiqa-external-*"))
    with pytest.raises(CommandError, match="wrote no output"):
        score(Command("external", "true", ("true",), 20, {}), samples, Context(targets=TARGETS))
    assert not list(tmp_path.glob("agiqa-external-*"))


def test_a_trained_command_is_given_what_to_learn_from(samples: Samples, tmp_path: Path) -> None:
    seen = tmp_path / "seen.txt"
    code = 'for file in "$3" "$4"; do cat "$file"; echo ---; done > ' + str(seen) + '; echo "id,score\n1,2" > "$2"'
    command = Command("external_trained", "x", ("sh", "-c", code, "sh"), 20, {})
    context = Context(targets=TARGETS)
    train, validation = samples.subset([0]), samples.subset([3])
    test = samples.subset([1]).hidden()
    np.testing.assert_array_equal(score(command, test, context, train=[train, validation]), [2])
    learnt, chosen = seen.read_text().split("---\n")[:2]
    assert [line.split(",")[0] for line in learnt.splitlines()] == ["id", "0", "3"]
    assert learnt.splitlines()[2].endswith("=1+1,g,0.1,2.0")
    assert chosen == "id,image,prompt,generator,mos_quality,mos_alignment\n"
    score(command, test, context, train=[train], validation=[validation])
    assert seen.read_text().split("---\n")[1].splitlines()[1].startswith("3,")


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], Any]:
    def call(text: str, ids: tuple[str, ...] = ("7", "3")) -> Any:
        path = tmp_path / "output.csv"
        path.write_bytes(text.encode("latin-1"))
        return read_scores(COMMAND, path, ids, TARGETS)

    return call


def test_scores_come_back_in_the_order_of_the_input(read: Callable[[str], Any]) -> None:
    np.testing.assert_array_equal(read("id,score\n3,-1e3\n7,0.5\n"), [0.5, -1000])
    np.testing.assert_array_equal(read('\xef\xbb\xbf"id", score ,note\r\n3,1,x\r\n\r\n7, 2 ,y\r\n'), [2, 1])
    each = read("score_alignment,id,score_quality\n1,3,2\n3,7,4\n")
    np.testing.assert_array_equal(each, [[4, 3], [2, 1]])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", r"with the columns \(none\); it must have id and score"),
        ("id,value\n3,1\n7,1\n", r"columns id, value; it must have id and score \(or id, score_quality, score_al"),
        ("id,score_quality\n3,1\n7,1\n", r"columns id, score_quality; it must"),
        ("id,score,score\n3,1,1\n7,1,1\n", r"columns id, score, score; it must"),
        ("id,score\n3,1\n", r"scored 1 of 2 images \(no score for id 7\)"),
        ("id,score\n3,1\n7,1\n8,1\n9,1\n", r"ids that its input does not have \(id 8, 9\)"),
        ("id,score\n3,1\n7,1\n3,1\n", r"wrote the id 3 twice"),
        ("id,score\n3,1\n7,good\n", r"the score 'good' for id 7, which is not a number"),
        ("id,score\n3,\n7,1\n", r"the score '' for id 3, which is not a number"),
        ("id,score\n3,nan\n7,1\n", r"the score nan for id 3, which is not finite"),
        ("id,score\n3,1\n7,-inf\n", r"the score -inf for id 7, which is not finite"),
        ("id,score\n3,1,2\n7,1\n", r"whose row 1 has 3 cells where the header has 2"),
        ('id,score\n3,"1\n7,1\n', r"is no CSV"),
        ("id,score\n3,1\n7,\xff\n", r"is not UTF-8 text \(byte 15\)"),
    ],
)
def test_bad_tables_are_told_in_one_line(text: str, reason: str, read: Callable[[str], Any]) -> None:
    with pytest.raises(CommandError, match=reason) as caught:
        read(text)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("method 'external': the command `score.sh` ")
    assert caught.value.exit_code == 1


def test_many_missing_scores_are_counted_and_the_first_named(read: Callable[..., Any]) -> None:
    with pytest.raises(CommandError, match=r"scored 0 of 9 images \(no score for id 0, 1, 2 and 6 more\)"):
        read("id,score\n", tuple(map(str, range(9))))
