"""Bad input ends in one clear line; nothing is lost, and what can go on goes on."""

import csv
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

HEADER = "image,prompt,generator,mos_quality\n"


def one_line(done, code=2):
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stdout + done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty; it needs a header and at least one row"),
        (HEADER, "no rows"),
        ("image,prompt\na.png,x\n", "mos"),
        (HEADER + "a.png,x,g,3\nb.png,y,g,\n", "b.png"),
        (HEADER + "a.png,x,g,3\nb.png,y,g,nan\n", "b.png"),
        (HEADER + "a.png,x,g,3\nb.png,y,g,good\n", "b.png"),
        (HEADER + "a.png,x,g,3\n", "needs at least 2"),
    ],
)
def test_tables(command, tmp_path, content, message):
    table = tmp_path / "mine.csv"
    table.write_text(content)
    done = command("run", "--methods", "generator_mean", "--dataset", table, "--annotations-only")
    line = one_line(done)
    assert "mine" in line
    assert message in line


def test_a_missing_data_set_names_the_place_and_the_command(command, tmp_path):
    line = one_line(command("run", "--methods", "generator_mean", "--dataset", "agiqa3k", "--data-root", tmp_path))
    assert str(tmp_path) in line
    assert "data.csv" in line
    assert "agiqa-bench datasets download agiqa3k" in line


def test_a_missing_table_and_an_unknown_data_set(command, tmp_path):
    assert "no such file" in one_line(command("run", "--dataset", tmp_path / "absent.csv"))
    assert "did you mean agiqa3k" in one_line(command("run", "--dataset", "agiqa3", "--methods", "generator_mean"))
    assert "which data set?" in one_line(command("run", "--methods", "generator_mean"))


def test_wrong_options_are_named(command, rated_table):
    def refused(*arguments):
        return one_line(command("run", "--dataset", rated_table, "--annotations-only", *arguments))

    assert "did you mean generator_mean" in refused("--methods", "generator_meen")
    misspelt = refused("--methods", "prompt_text[alfa=1]")
    assert "unknown key 'alfa' (did you mean alpha?; there are: alpha, words)" in misspelt
    assert "repeats = 0" in refused("--methods", "generator_mean", "--repeats", "0")
    assert "split = 'grouped by eye'" in refused("--methods", "generator_mean", "--split", "grouped by eye")
    assert "write auto, cpu or cuda:N" in refused("--methods", "generator_mean", "--device", "abacus")
    assert "no such file" in refused("--methods", "generator_mean", "--config", "absent.toml")


def write_table(tmp_path, images):
    rows = [f"{name},prompt {index},g{index % 2},{1 + index}" for index, name in enumerate(images)]
    path = tmp_path / "pictures.csv"
    path.write_text(HEADER + "\n".join(rows) + "\n")
    return path


def picture(mode, size=(120, 110)):
    rng = np.random.RandomState(3)
    pixels = rng.randint(0, 256, size=(size[1], size[0], 4), dtype=np.uint8)
    if mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    return Image.fromarray(pixels).convert(mode) if mode != "RGBA" else Image.fromarray(pixels)


def test_every_kind_of_image_is_scored(command, tmp_path, example_methods):
    names = []
    for mode in ("RGB", "L", "RGBA", "P", "CMYK", "I;16", "1"):
        names.append(f"{mode.replace(';', '')}.{'tif' if mode == 'CMYK' else 'png'}")
        picture(mode).save(tmp_path / names[-1])
    Image.new("RGB", (1, 1), "white").save(tmp_path / "one.png")
    Image.new("RGB", (8000, 8000), "black").save(tmp_path / "huge.png", compress_level=1)
    table = write_table(tmp_path, [*names, "one.png", "huge.png"])
    done = command("run", "--plugin", example_methods, "--methods", "brightness", "--dataset", table, "--repeats", 1)
    assert done.returncode == 0, done.stderr
    scores = next((tmp_path / "results/runs/pictures/scores").rglob("scores.parquet"))
    import pandas as pd

    values = dict(zip([*names, "one", "huge"], pd.read_parquet(scores)["quality"], strict=True))
    assert values["one"] == 255.0
    assert values["huge"] == 0.0
    assert values["I16.png"] == pytest.approx(values["L.png"], abs=12)


def test_broken_images_fail_the_methods_that_look_and_no_other(command, tmp_path, example_methods):
    picture("RGB").save(tmp_path / "whole.jpg")
    content = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "truncated.jpg").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("this is no image\n" * 50)
    table = write_table(tmp_path, ["whole.jpg", "truncated.jpg", "empty.jpg", "text.jpg"])
    done = command("run", "--plugin", example_methods, "--methods", "brightness,generator_mean", "--dataset", table,
                   "--repeats", 2)  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("failed:")]
    assert "3 of 4 images cannot be used" in line
    assert all(name in line for name in ("truncated.jpg", "empty.jpg", "text.jpg"))
    assert "2 cells computed" in done.stderr
    with (tmp_path / "results/runs/pictures/table.csv").open() as file:
        assert {row["method"] for row in csv.DictReader(file)} == {"generator_mean"}


def test_an_image_too_small_for_a_method_is_named(command, tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        picture("RGB").save(tmp_path / name)
    Image.new("RGB", (1, 1)).save(tmp_path / "one.png")
    table = write_table(tmp_path, ["a.png", "b.png", "c.png", "one.png"])
    done = command("run", "--methods", "niqe,generator_mean", "--set", "niqe.pristine=refit", "--dataset", table,
                   "--repeats", 2)  # fmt: skip
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("failed:")]
    assert "one.png" in line
    assert "96 x 96" in line
    assert "1 x 1" in line


def mounted(folder, options):
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"mounting a tmpfs is not allowed here: {done.stderr.strip()}")


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs, as Linux does")
def test_a_full_disk_keeps_what_was_finished_and_goes_on_when_there_is_room(
    command, rated_table, example_methods, tmp_path
):
    disk = tmp_path / "disk"
    mounted(disk, "size=160k")
    try:
        arguments = ["run", "--plugin", example_methods, "--methods", "epochs,name_length", "--dataset", rated_table,
                     "--annotations-only", "--output", disk / "out"]  # fmt: skip
        full = command(*arguments)
        assert full.returncode == 2
        assert "Traceback" not in full.stderr
        error = next(line for line in full.stderr.splitlines() if line.startswith("error:"))
        assert "no space left on the device; what was finished before is kept" in error
        kept = len(list((disk / "out/cells").rglob("cell.json")))
        assert 0 < kept < 20
        subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
        done = command(*arguments)
        assert f"{20 - kept} cells computed, {kept} reused" in done.stderr, done.stderr
        command(*arguments[:-1], tmp_path / "elsewhere")
        assert (disk / "out/table.csv").read_bytes() == (tmp_path / "elsewhere/table.csv").read_bytes()
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs, as Linux does")
def test_a_read_only_folder_is_one_line(command, rated_table, tmp_path):
    folder = tmp_path / "locked"
    if os.geteuid() == 0:
        mounted(folder, "ro")
    else:
        folder.mkdir(mode=0o555)
    try:
        done = command("run", "--methods", "generator_mean", "--dataset", rated_table, "--annotations-only",
                       "--output", folder / "out")  # fmt: skip
        line = one_line(done)
        assert str(folder) in line
        assert "read-only" in line or "permission denied" in line
    finally:
        if os.geteuid() == 0:
            subprocess.run(["umount", folder], check=True)


def test_an_output_that_is_a_file_is_one_line(command, rated_table, tmp_path):
    (tmp_path / "file").touch()
    done = command("run", "--methods", "generator_mean", "--dataset", rated_table, "--annotations-only",
                   "--output", tmp_path / "file")  # fmt: skip
    assert "is a file; choose a folder with --output" in one_line(done)
