"""The pins below change only when somebody means to change the pictures or the ratings; say so in the commit."""

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agiqa_bench.datasets import demo
from agiqa_bench.datasets.demo import PROMPTS, Demo, image_folder, pictures
from agiqa_bench.synthetic.generators import paint

PNG_DIGEST = "ad1acd240abf553679368ef1dd430330f82f3adad9a5af1a6758f848365e168f"
MOS_DIGEST = "969143babb662f5d286c3b6369885bc1165d036108f8d5ae90c612b99667c5fa"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("AGIQA_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def samples(cache):
    return Demo().samples


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.setenv("AGIQA_CACHE", str(tmp_path))
    return Demo(annotations_only=True).samples


def test_files_are_the_same_bytes_on_every_machine(samples):
    digest = hashlib.sha256()
    for path in samples["path"]:
        digest.update(Path(path).read_bytes())
    assert digest.hexdigest() == PNG_DIGEST


def test_pillow_reads_the_pixels_that_were_painted(samples):
    for row in (0, 130, 359):
        with Image.open(samples["path"][row]) as image:
            assert image.size == (128, 128)
            np.testing.assert_array_equal(np.asarray(image), paint(pictures()[row].plan))


def test_no_two_pictures_are_the_same_and_none_is_blank(samples):
    contents = [Path(path).read_bytes() for path in samples["path"]]
    assert len(set(contents)) == 360
    assert min(paint(picture.plan, 32).std() for picture in pictures()) > 3.0


def test_pictures_are_painted_once(samples, cache, monkeypatch):
    def refuse(*_):
        raise AssertionError("painted again")

    monkeypatch.setattr(demo, "paint", refuse)
    assert list(Demo().samples["path"]) == list(samples["path"])
    assert image_folder().parent == cache / "demo"


def test_mos_are_the_same_on_every_machine(table):
    lines = [
        f"{image} {quality!r} {alignment!r}\n"
        for image, quality, alignment in zip(
            table["image"], table["mos_quality"].tolist(), table["mos_alignment"].tolist(), strict=True
        )
    ]
    assert lines[0] == "toy-gan_00_0.png 2.239 1.8941\n"
    assert hashlib.sha256("".join(lines).encode()).hexdigest() == MOS_DIGEST


def test_annotations_alone_paint_nothing(table, tmp_path):
    assert (table["path"] == "").all()
    assert list(tmp_path.iterdir()) == []


def test_annotations_are_those_of_the_full_data_set(samples, table):
    assert samples.drop(columns="path").equals(table.drop(columns="path"))


def test_shape_of_the_table(table):
    assert len(table) == 360
    assert table["image"].is_unique
    assert table["group"].nunique() == table["prompt"].nunique() == 30
    assert (table.groupby("group").size() == 12).all()
    assert (table.groupby("generator").size() == 60).all()
    assert table["generator"].nunique() == 6
    assert table["generator"].str.startswith("toy-").all()
    assert set(table.loc[table["family"] == "toy-diffusion", "generator"]) == {"toy-diffusion", "toy-diffusion-lowstep"}
    assert table.groupby("category")["prompt"].nunique().to_dict() == {
        "object": 8,
        "attribute": 8,
        "scene": 7,
        "style": 7,
    }
    assert set(table["prompt"]) == set(PROMPTS)
    assert "two red flowers in a green meadow, watercolour painting" in PROMPTS


@pytest.mark.parametrize("target", ["quality", "alignment"])
def test_mos_use_their_scale(table, target):
    mos = table[f"mos_{target}"]
    assert mos.between(0.0, 5.0).all()
    assert mos.min() < 1.0
    assert mos.max() > 4.5
    assert mos.std() > 1.0


def test_generators_differ_but_do_not_explain_everything(table):
    quality = table["mos_quality"]
    between = table.groupby("generator")["mos_quality"].transform("mean").var() / quality.var()
    assert 0.3 < between < 0.5
    assert 0.3 < quality.corr(table["mos_alignment"], method="spearman") < 0.5


def test_it_says_that_it_is_synthetic():
    assert Demo.synthetic
    for text in (Demo.title, Demo.summary, Demo.citation):
        assert "synthetic" in text


def test_two_first_runs_at_once_paint_once(tmp_path, monkeypatch):
    monkeypatch.setenv("AGIQA_CACHE", str(tmp_path))
    few, painted, png = pictures()[:3], [], demo.Picture.png

    def slow(picture):
        painted.append(picture.name)
        time.sleep(0.05)
        return png(picture)

    monkeypatch.setattr(demo, "pictures", lambda: few)
    monkeypatch.setattr(demo.Picture, "png", slow)
    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(lambda _: image_folder(), range(2)))
    assert folders[0] == folders[1]
    assert painted == [picture.name for picture in few]
    assert sorted(file.name for file in folders[0].iterdir()) == sorted(painted)
