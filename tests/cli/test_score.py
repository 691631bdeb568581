"""`agiqa-bench score` and `attention`: the installed command, and what it says about wrong requests."""

import csv
import io
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from agiqa_bench import Context
from agiqa_bench.cli.app import start
from agiqa_bench.plugins import load_plugin
from agiqa_bench.registry import method_registry
from agiqa_bench.saved import save_model

PLUGIN = Path(__file__).parents[1] / "savable_methods.py"
RANGES = {"quality": (0, 5), "alignment": (1, 100)}


@pytest.fixture
def folder(tmp_path, fresh_registries):
    """Models `level` (uses the prompt) and `blind`, an image, and a folder of images."""
    load_plugin(PLUGIN)
    (tmp_path / "frozen.pt").write_bytes(b"frozen weights")
    for name in ("level", "blind"):
        cls = method_registry().load(name)
        context = Context(dataset="demo", targets=("quality", "alignment"), mos_ranges=RANGES)
        method = cls(cls.Config(backbone=str(tmp_path / "frozen.pt")), context)
        method.bias = torch.tensor([-8.5, 2.25])
        save_model(method, tmp_path / name)
    for name, level in (("image.png", 10), ("all/b.png", 20), ("all/a/c.JPG", 30), ("all/.hidden.png", 40)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 8), (level, level, level)).save(tmp_path / name)
    (tmp_path / "all" / "notes.txt").write_text("not an image")
    return tmp_path


@pytest.fixture
def said(folder, monkeypatch, capsys):
    """Runs the application in this process, in the folder: exit code, standard output, lines of standard error."""
    monkeypatch.chdir(folder)
    logger = logging.getLogger("agiqa_bench")
    before = logger.handlers[:], logger.level, logger.propagate

    def run(*arguments):
        code = start([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err.splitlines()

    yield run
    logger.handlers[:], logger.level, logger.propagate = before


def test_one_image_with_its_prompt(folder, command):
    done = command("score", "--checkpoint", "level.safetensors", "--plugin", PLUGIN, "image.png", "abcd", "--offline")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "             score  MOS range",
        "quality     1.5400  0 to 5",
        "alignment  12.2900  1 to 100",
    ]
    assert done.stderr.splitlines() == ["Level (demo file), fitted on demo"]


def test_a_table(folder, command):
    (folder / "tables").mkdir()
    table = folder / "tables" / "list.csv"
    table.write_text('Image;Prompt;other\n../image.png;"two; three";x\n../all/b.png;é;y\n', "utf-8")
    done = command("score", "-c", "level", "--plugin", PLUGIN, table, "--output", "out/scores.csv")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1] == "wrote out/scores.csv: scores of 2 images"
    with (folder / "out" / "scores.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["image", "prompt", "quality", "alignment"]
    assert [row[:2] for row in rows[1:]] == [["../image.png", "two; three"], ["../all/b.png", "é"]]
    np.testing.assert_allclose([[float(x) for x in row[2:]] for row in rows[1:]], [[1.6, 12.35], [11.51, 22.26]])


@pytest.mark.parametrize("suffix", [".parquet", ".xlsx"])
def test_other_tables(folder, said, suffix):
    import pandas as pd

    table = pd.DataFrame({"image": ["image.png"], "prompt": ["ab"]})
    getattr(table, {".parquet": "to_parquet", ".xlsx": "to_excel"}[suffix])(folder / f"list{suffix}", index=False)
    code, out, _ = said("score", "-c", "level", f"list{suffix}")
    assert code == 0
    assert [row[:2] for row in csv.reader(io.StringIO(out))] == [["image", "prompt"], ["image.png", "ab"]]


def test_a_folder_in_the_order_of_its_paths(said):
    code, out, err = said("score", "-c", "blind.json", "all")
    assert code == 0
    rows = list(csv.reader(io.StringIO(out)))
    assert [row[:2] for row in rows] == [["image", "prompt"], ["a/c.JPG", ""], ["b.png", ""]]
    np.testing.assert_allclose([float(row[2]) for row in rows[1:]], [21.5, 11.5])
    assert err == ["Blind (demo file), fitted on demo"]


def test_a_prompt_that_is_not_used_is_accepted_and_said(said):
    code, out, err = said("score", "-c", "blind", "image.png", "abcd", "--format", "json")
    assert code == 0
    assert err == ["Blind (demo file), fitted on demo", "note: Blind does not look at the prompt"]
    assert json.loads(out) == {
        "method": "blind",
        "mos_ranges": {"quality": [0, 5], "alignment": [1, 100]},
        "scores": [{"image": "image.png", "prompt": "abcd", "quality": 1.5, "alignment": 12.25}],
    }


def test_one_prompt_for_all_images_of_a_folder(said):
    code, out, _ = said("score", "-c", "level", "all", "ab", "--format", "json")
    assert code == 0
    found = json.loads(out)["scores"]
    assert [(row["image"], row["prompt"]) for row in found] == [("a/c.JPG", "ab"), ("b.png", "ab")]
    np.testing.assert_allclose([row["quality"] for row in found], [21.52, 11.52])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["image.png"], 'give it behind the image, score image.png "PROMPT"'),
        (["image.png", "  "], "image image.png has no prompt"),
        (["all"], "instead of the folder all give a table with the columns image and prompt"),
        (["absent.png", "a"], "cannot decode absent.png: no such file"),
        (["all/notes.txt", "a"], "cannot decode all/notes.txt: not an image of a known format"),
        (["absent.csv"], "table absent.csv: no such file"),
        (["empty"], "folder empty has no images"),
        (["unasked.csv"], "table unasked.csv has no column 'prompt', and Level"),
        (["blank.csv"], "image image.png has no prompt (2 images have none)"),
        (["nothing.csv"], "table nothing.csv: data row 2 names no image"),
        (["rows.csv"], "table rows.csv has a header and no rows"),
        (["columns.csv"], "table columns.csv has no column 'image' (it has: path, prompt)"),
        (["gone.csv"], "gone.png: no such file"),
        (["blank.csv", "a prompt"], "brings its own prompts"),
        (["image.png", "a", "--format", "xml"], "unknown format 'xml': known: json, plain"),
        (["image.png", "a", "--device", "gpu"], "--device gpu: write auto, cpu or cuda:N"),
        (["image.png", "a", "--backbone", "other.pt"], "no weights other.pt: give a file"),
        (["image.png", "a", "--checkpoint", "absent"], "model absent.json: no such file"),
        (["image.png", "a", "--plugin", "absent.py"], "plugin absent.py: no such file"),
    ],
)
def test_wrong_requests_are_one_line(folder, said, arguments, line):
    (folder / "empty").mkdir()
    (folder / "unasked.csv").write_text("image\nimage.png\n")
    (folder / "blank.csv").write_text("image,prompt\nall/b.png,x\nimage.png,\nall/b.png, \n")
    (folder / "nothing.csv").write_text("image,prompt\nimage.png,x\n,y\n")
    (folder / "rows.csv").write_text("image,prompt\n")
    (folder / "columns.csv").write_text("path,prompt\nimage.png,x\n")
    (folder / "gone.csv").write_text("image,prompt\nimage.png,x\ngone.png,x\n")
    code, out, err = said("score", "-c", "level", *arguments)
    assert code == 2
    assert out == ""
    errors = [text for text in err if text != "Level (demo file), fitted on demo"]
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    assert line in errors[0]


def test_attention_maps(folder, command):
    done = command(
        "attention", "-c", "level", "--plugin", PLUGIN, "image.png", "ab", "--output", "maps.npz", "--heads", "5, 0"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "wrote maps.npz: 2 of 6 heads"
    with np.load(folder / "maps.npz") as found:
        expected = np.arange(96, dtype=np.float32).reshape(6, 4, 4) + 2
        np.testing.assert_array_equal(found["attention"], expected[[5, 0]])


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_drawn_attention_maps(folder, said, suffix):
    code, _, err = said("attention", "-c", "level", "image.png", "a $2 prompt_", "-o", f"maps.{suffix}")
    assert (code, err[-1]) == (0, f"wrote maps.{suffix}: 6 of 6 heads")
    start_of_file = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix]
    assert (folder / f"maps.{suffix}").read_bytes().startswith(start_of_file)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["-c", "blind", "image.png", "-o", "m.png"], "Blind has no attention maps; ipiqa, for one, has"),
        (["-c", "level", "image.png", "a", "-o", "m.jpg"], "--output m.jpg: end it in .png, .svg, .pdf (pictures)"),
        (["-c", "level", "image.png", "-o", "m.png"], "Level scores an image together with its prompt"),
        (["-c", "level", "image.png", "a", "-o", "m.png", "--heads", "6"], "--heads 6: the method has heads 0 to 5"),
        (["-c", "level", "image.png", "a", "-o", "m.npz", "--heads", "6"], "--heads 6: the method has heads 0 to 5"),
        (["-c", "level", "image.png", "a", "-o", "m.png", "--heads", "1-3"], "--heads 1-3: write numbers separated"),
        (["-c", "level", "absent.png", "a", "-o", "m.png"], "cannot decode absent.png: no such file"),
    ],
)
def test_wrong_requests_for_attention_are_one_line(folder, said, arguments, line):
    code, _, err = said("attention", *arguments)
    assert code == 2
    assert err[-1].startswith("error: ")
    assert line in err[-1]
    assert not list(folder.glob("m.*"))
