"""A plan over two data sets, and what its cells have in common with those of plain runs."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from agiqa_bench.errors import ConfigError, UnknownNameError
from agiqa_bench.execution.plan import cell_seed
from agiqa_bench.execution.planning import make_plan
from agiqa_bench.execution.request import RunRequest, build_request
from agiqa_bench.execution.store import Store
from agiqa_bench.execution.tasks import execute, tasks_of
from agiqa_bench.plugins import load_plugin


@pytest.fixture
def other_table(rated_table):
    """A table of other prompts by the same generators, on a scale from 0 to 100, with a rating of its own besides."""
    table = pd.read_csv(rated_table).iloc[15:48]
    table["mos_authenticity"] = np.arange(len(table)) * 3.0
    table["mos_quality"] = table["mos_quality"] * 20
    path = rated_table.with_name("other.csv")
    table.to_csv(path, index=False)
    return path


@pytest.fixture
def plan_of(rated_table, other_table, example_methods, fresh_registries):
    """`plan_of("train", "test", "epochs")`: learn from the one table, be judged on the other; one name: a plain run."""
    load_plugin(example_methods)
    tables = {"rated": str(rated_table), "other": str(other_table), "demo": "demo"}

    def build(train, test, *methods, **changes):
        data = {"dataset": tables[train]} if train == test else {"train_on": tables[train], "test_on": tables[test]}
        return make_plan(RunRequest(**data, methods=methods, annotations_only=True, **{"repeats": 2} | changes))

    return build


def finish(plan, folder):
    """The cells of the plan's only method, by repeat."""
    store = Store(folder)
    plan.find_results(store)
    for task in tasks_of(plan):
        assert execute(plan, store, task, lambda *progress: None).failures == ()
    (method,) = plan.methods
    return [store.find_cell(method.label, cell.repeat, cell.key) for cell in method.cells]


def test_it_learns_what_a_plain_run_learns_and_is_tested_on_what_a_plain_run_is_tested_on(plan_of):
    crossing, home, away = (plan_of(*pair, "epochs") for pair in (("rated", "other"), ["rated"] * 2, ["other"] * 2))
    table = crossing.dataset.samples
    for split, own, others in zip(crossing.splits, home.splits, away.splits, strict=True):
        assert list(split.train) == list(own.train)
        assert list(split.validation) == list(own.validation)
        assert list(table["image"].iloc[split.test]) == list(away.dataset.samples["image"].iloc[others.test])
        assert list(table["mos_quality"].iloc[split.test]) == list(away.dataset.samples["mos_quality"][others.test])
    assert crossing.protocol["train_splits_digest"] == home.protocol["splits_digest"]
    assert crossing.protocol["test_splits_digest"] == away.protocol["splits_digest"]
    assert crossing.protocol["test_annotations"] == away.protocol["annotations"]
    assert crossing.protocol["train_rows"] == 60
    named = [crossing.protocol[key] for key in ("dataset", "train_on", "test_on")]
    assert named == ["rated-to-other", "rated", "other"]
    assert not any(key.startswith(("train_", "test_")) for key in home.protocol)


def test_the_trained_method_is_that_of_the_plain_run_and_its_judges_that_of_the_other(plan_of, tmp_path):
    crossing, home, away = (plan_of(*pair, "epochs") for pair in (("rated", "other"), ["rated"] * 2, ["other"] * 2))
    assert cell_seed(crossing, crossing.methods[0], 1) == cell_seed(home, home.methods[0], 1)
    cells, own, others = (finish(plan, tmp_path / plan.dataset.name) for plan in (crossing, home, away))
    for cell, plain, judged in zip(cells, own, others, strict=True):
        assert cell.history() == plain.history()
        assert list(cell.predictions()["image"]) == list(judged.predictions()["image"])
        assert list(cell.predictions()["mos_quality"]) == list(judged.predictions()["mos_quality"])
        assert list(cell.predictions()["score_quality"]) != list(judged.predictions()["score_quality"])
        # What was learnt on a scale from 1 to 5 is worth something on one to 100.
        assert cell.metrics["quality"]["srcc"] > 0.8


def test_a_zero_shot_method_scores_the_test_set_alone_and_has_the_numbers_of_a_plain_run(
    plan_of, tmp_path, monkeypatch
):
    monkeypatch.setenv("EXAMPLE_LOG", str(tmp_path / "log"))
    cells = finish(plan_of("rated", "other", "name_length"), tmp_path / "cross")
    assert (tmp_path / "log").read_text().split() == ["name_length", "33"]
    for cell, plain in zip(cells, finish(plan_of("other", "other", "name_length"), tmp_path / "plain"), strict=True):
        found, expected = cell.predictions(), plain.predictions()
        for name in ("image", "score_quality", "mos_quality"):
            assert list(found[name]) == list(expected[name])
        assert list(found["row"] - 60) == list(expected["row"])
        assert cell.metrics["quality"]["krcc"] == plain.metrics["quality"]["krcc"]


def test_choosing_by_the_test_part_looks_at_the_test_set(plan_of):
    (split, _) = plan_of("rated", "other", "epochs", select="test").splits
    rows, validation = split.training("test")
    assert rows.max() < 60
    assert list(validation) == list(split.test)
    assert validation.min() >= 60


def test_targets_and_scales(plan_of):
    plan = plan_of("other", "rated", "epochs")
    context = plan.methods[0].context
    assert context.targets == ("quality",)
    assert context.dataset == "other"
    assert context.mos_ranges["authenticity"] is context.mos_ranges["quality"] is None
    stated = plan_of("other", "rated", "epochs", mos_range=("quality=0,100", "authenticity=0,96"))
    ranges = stated.methods[0].context.mos_ranges
    assert (ranges["quality"], ranges["authenticity"]) == ((0.0, 100.0), (0.0, 96.0))
    with pytest.raises(UnknownNameError, match="target of other-to-rated 'authenticity'"):
        plan_of("other", "rated", "epochs", targets=("authenticity",))
    skipped = plan_of("rated", "other", "imagereward").methods[0].skip
    assert skipped == "predicts alignment; both data sets rate quality"


def test_presets_are_quick_only_if_both_ask(plan_of):
    assert plan_of("demo", "rated", "ablated").methods[0].preset == ""
    assert plan_of("demo", "rated", "ablated", preset="quick").methods[0].preset == "quick"


def test_the_key_holds_both_annotations_and_the_splits(plan_of, rated_table, other_table):
    def key():
        return plan_of("rated", "other", "epochs").methods[0].cells[0].key

    first = key()
    assert key() == first
    assert plan_of("other", "rated", "epochs").methods[0].cells[0].key != first
    for table in (rated_table, other_table):
        before = table.read_text()
        table.write_text(before.replace("thing 7", "thing seven"))
        assert key() != first
        table.write_text(before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "which data set"),
        ({"train_on": "demo"}, "--train-on demo: give --test-on NAME as well"),
        ({"test_on": "demo"}, "--test-on demo: give --train-on NAME as well"),
        ({"dataset": "demo", "train_on": "demo"}, "give the one or the others"),
        (
            {"train_on": "demo", "test_on": "x", "split": "generator"},
            "--split generator leaves out .* use --split grouped",
        ),
        ({"train_on": "demo", "test_on": "x", "splits_file": "s.json"}, "--splits holds splits of one data set"),
    ],
)
def test_requests_that_do_not_go_together_are_one_line(options, message):
    with pytest.raises(ConfigError, match=message) as caught:
        build_request(None, options)
    assert "\n" not in str(caught.value)


def test_a_file_says_it_too(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('train_on = "agiqa1k"\ntest_on = "agiqa3k"\n')
    request = build_request(file, {})
    assert request.data == ("agiqa1k", "agiqa3k")
    assert request.crosses
    assert not build_request(None, {"dataset": "demo"}).crosses


def test_one_data_set_on_both_sides_is_refused(plan_of):
    with pytest.raises(ConfigError, match=r"both called 'demo'.*give --dataset"):
        make_plan(RunRequest(train_on="demo", test_on="demo", annotations_only=True))


def test_identical_images_on_both_sides_are_counted_by_the_contents_of_the_files(tmp_path, fresh_registries):
    def write(name, first):
        folder = tmp_path / name
        folder.mkdir()
        rows = []
        for place, shade in enumerate(range(first, first + 10)):
            Image.new("RGB", (32, 32), (20 * shade, 0, 0)).save(folder / f"{name}{place}.png")
            rows.append({"image": f"{name}{place}.png", "prompt": f"{name} {place}", "mos_quality": 1 + place / 4})
        pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)
        return str(folder / f"{name}.csv")

    mine, copies, others = write("mine", 0), write("copies", 0), write("others", 10)
    request = {"train_on": mine, "methods": ("brisque",), "split": "image", "repeats": 3}
    plan = make_plan(RunRequest(test_on=copies, **request))
    hits = [
        len({row - 10 for row in split.test} & {*split.train, *split.validation}) / len(split.test)
        for split in plan.splits
    ]
    assert plan.protocol["shared_images"] == pytest.approx(np.mean(hits))
    assert plan.protocol["shared_images"] > 0
    assert plan.protocol["leaked_prompts"] == 0
    assert make_plan(RunRequest(test_on=others, **request)).protocol["shared_images"] == 0
    assert make_plan(RunRequest(test_on=copies, annotations_only=True, **request)).protocol["shared_images"] is None
