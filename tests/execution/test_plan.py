"""Plans and keys: what changes a key and what does not."""

from typing import ClassVar

import pytest
from rich.console import Console

from agiqa_bench.backbones.method import ClipConfig
from agiqa_bench.cli.plan import show_plan
from agiqa_bench.errors import ConfigError, PluginError, UnknownNameError, WeightsUnavailableError
from agiqa_bench.execution import planning
from agiqa_bench.execution.keys import changed_components
from agiqa_bench.execution.plan import PlannedMethod, cell_context
from agiqa_bench.execution.planning import make_plan
from agiqa_bench.execution.request import RunRequest
from agiqa_bench.execution.runner import describe_plan
from agiqa_bench.method import Context, Method, MethodConfig, Weights
from agiqa_bench.plugins import load_plugin
from agiqa_bench.registry import method_registry
from agiqa_bench.seeds import derive_seed


def components(plan):
    return plan.methods[0].cells[0].components


def difference(before, after):
    changed = changed_components(components(before), components(after))
    assert (before.methods[0].cells[0].key != after.methods[0].cells[0].key) == bool(changed)
    return changed


def test_the_same_request_gives_the_same_keys(plan_of):
    assert difference(plan_of("epochs"), plan_of("epochs")) == []


def test_config_changes_the_key(plan_of):
    assert difference(plan_of("name_length"), plan_of("name_length[sign=-1]")) == ["config"]
    assert difference(plan_of("name_length"), plan_of("name_length", settings={"name_length": {"sign": -1}})) == [
        "config"
    ]


def test_seed_changes_split_and_training_seed(plan_of):
    assert difference(plan_of("epochs"), plan_of("epochs", seed=1)) == ["seed", "split"]
    assert difference(plan_of("name_length"), plan_of("name_length", seed=1)) == ["split"]


def test_split_rule_changes_the_key(plan_of):
    # Nobody states a range for this table: it is that of the training part, which is another.
    assert difference(plan_of("epochs"), plan_of("epochs", split="image")) == ["mos_ranges", "split"]


def test_selection_changes_the_key_only_of_methods_that_choose_an_epoch(plan_of):
    assert plan_of("epochs").request.select == "refit"
    assert difference(plan_of("epochs"), plan_of("epochs", select="last")) == ["selection"]
    assert difference(plan_of("epochs"), plan_of("epochs", select="validation")) == ["selection"]
    assert difference(plan_of("fails_sometimes"), plan_of("fails_sometimes", select="last")) == []


def test_precision_and_batch_size_change_the_key(plan_of):
    assert difference(plan_of("epochs"), plan_of("epochs", precision="bf16")) == ["precision"]
    assert difference(plan_of("epochs"), plan_of("epochs", batch_size=7)) == ["batch_size"]


def test_device_and_what_is_kept_do_not_change_the_key(plan_of):
    assert difference(plan_of("epochs"), plan_of("epochs", deterministic=True, save_models=True)) == []


def test_the_range_of_every_rated_target_changes_the_key(plan_of, rated_table):
    lines = rated_table.read_text("utf-8").splitlines()

    def rated_for_alignment(highest, **ranges):
        alignment = ["mos_alignment", highest, *["1.0"] * (len(lines) - 2)]
        rated_table.write_text("\n".join(f"{a},{b}" for a, b in zip(lines, alignment, strict=True)), "utf-8")
        return plan_of("epochs", targets=("quality",), mos_range={"quality": (0.0, 5.0)} | ranges)

    def rated(plan):
        assert components(plan)["targets"] == ["quality"]
        assert components(plan)["mos_ranges"]["quality"] == [0.0, 5.0]
        return components(plan)["mos_ranges"]["alignment"]

    plan = rated_for_alignment("4.0", alignment=(0.0, 9.0))
    assert rated(plan) == [0.0, 9.0]
    assert difference(plan, rated_for_alignment("4.0", alignment=(0.0, 8.0))) == ["mos_ranges"]
    # Where nobody states it, what a repeat learns from does: the first row in the first repeat, not in the second.
    plan = rated_for_alignment("4.0")
    assert 0 in plan.splits[0].validation
    assert 0 in plan.splits[1].test
    assert rated(plan) == [1.0, 4.0]
    assert difference(plan, rated_for_alignment("5.0")) == ["annotations", "mos_ranges"]
    assert plan.methods[0].cells[1].components["mos_ranges"]["alignment"] == [1.0, 1.0]


def test_all_repeats_share_a_seed_of_their_own(plan_of):
    def seeds(**changes):
        plan = plan_of("epochs", "fails_sometimes", "name_length", repeats=3, **changes)
        found = {}
        for method in plan.methods:
            contexts = [cell_context(plan, method, cell, None) for cell in method.cells]
            (found[method.label],) = {context.shared_seed for context in contexts}
            assert found[method.label] not in {context.seed for context in contexts} or not method.cls.trainable
        return found

    found = seeds()
    assert found == seeds()
    assert found["epochs"] != found["fails_sometimes"]
    assert seeds(seed=1)["epochs"] != found["epochs"]
    # The key of zero-shot scores holds no seed.
    assert found["name_length"] == 0


def test_each_repeat_of_each_method_has_a_seed_of_its_own(plan_of):
    plan = plan_of("epochs", "fails_sometimes", repeats=3)
    seeds = {
        (method.label, cell.repeat): cell_context(plan, method, cell, None).seed
        for method in plan.methods
        for cell in method.cells
    }
    assert seeds == {
        (name, repeat): derive_seed(0, "rated", name, repeat, "fit")
        for name in ("epochs", "fails_sometimes")
        for repeat in range(3)
    }
    assert len(set(seeds.values())) == 6
    # What a cell draws from stands in its key.
    for method in plan.methods:
        assert [cell.components["seed"] for cell in method.cells] == [seeds[method.label, n] for n in range(3)]


def test_determinism_changes_the_key_where_it_changes_what_is_computed(plan_of, monkeypatch):
    """On a GPU other algorithms are taken; a CPU rounds the same way without being told (see above)."""
    monkeypatch.setattr(planning, "resolve_device", lambda device: "cuda:0")
    plain, strict = (
        plan_of("epochs", "name_length", device="cuda", deterministic=asked).methods for asked in (False, True)
    )
    assert strict[0].context.device == "cuda:0"
    for before, after in zip(plain, strict, strict=True):
        assert changed_components(before.cells[0].components, after.cells[0].components) == ["deterministic"]
        assert before.cells[0].key != after.cells[0].key
    assert plain[1].score_key != strict[1].score_key


def test_only_what_is_fitted_and_has_a_state_can_be_saved():
    class Plain(Method):
        name = title = "plain"

        def predict(self, samples):
            raise AssertionError

    class Fitted(Plain):
        def state(self):
            raise AssertionError

    class ZeroShot(Fitted):
        trainable = False

    found = [PlannedMethod("x", "x", cls, MethodConfig(), Context()).savable for cls in (Plain, Fitted, ZeroShot)]
    assert found == [False, True, False]


def test_a_method_is_told_to_be_deterministic(plan_of):
    assert plan_of("epochs").methods[0].context.deterministic is False
    assert plan_of("epochs", deterministic=True).methods[0].context.deterministic is True


def test_data_change_the_key(plan_of, rated_table):
    before = plan_of("epochs")
    text = rated_table.read_text("utf-8")
    rated_table.write_text(text.replace("4.0040", "4.0041", 1), "utf-8")
    assert text != rated_table.read_text("utf-8")
    assert difference(before, plan_of("epochs")) == ["annotations"]


def test_moving_the_table_does_not_change_the_key(plan_of, rated_table, example_methods, tmp_path):
    before = plan_of("epochs")
    moved = tmp_path / "elsewhere" / rated_table.name
    moved.parent.mkdir()
    rated_table.rename(moved)
    after = make_plan(RunRequest(dataset=str(moved), methods=("epochs",), annotations_only=True))
    assert difference(before, after) == []


def test_code_changes_the_key(plan_of, example_methods, tmp_path, rated_table, monkeypatch):
    source = example_methods.read_text("utf-8")
    keys = []
    for folder, text in (("a", source), ("b", source), ("c", source + "\nCHANGED = True\n")):
        file = tmp_path / folder / "example_methods.py"
        file.parent.mkdir()
        file.write_text(text, "utf-8")
        method_registry.cache_clear()
        load_plugin(file)
        keys.append(components(plan_of_file(rated_table)))
    assert changed_components(keys[0], keys[1]) == []
    assert changed_components(keys[0], keys[2]) == ["code"]


def plan_of_file(table):
    return make_plan(RunRequest(dataset=str(table), methods=("epochs",), annotations_only=True))


def test_weights_and_images_change_the_key(rated_table, monkeypatch, tmp_path, fresh_registries):
    from PIL import Image

    monkeypatch.setenv("AGIQA_CACHE", str(tmp_path / "cache"))

    class Weighted(Method):
        name = "weighted"
        title = "Weighted"
        digest = "one"

        @classmethod
        def weights(cls, config: MethodConfig, context: Context) -> tuple[Weights, ...]:
            return (Weights("file", cls.digest, stand_in="toy"),)

        def predict(self, samples):
            raise AssertionError

    method_registry().register("weighted", Weighted, "tests")
    for line in rated_table.read_text("utf-8").splitlines()[1:]:
        Image.new("RGB", (8, 8), "red").save(rated_table.parent / line.partition(",")[0])
    request = RunRequest(dataset=str(rated_table), methods=("weighted",))
    before = make_plan(request)
    assert before.methods[0].label == "weighted (toy)"
    Weighted.digest = "two"
    assert difference(before, make_plan(request)) == ["weights"]
    Weighted.digest = "one"
    Image.new("RGB", (8, 8), "blue").save(rated_table.parent / "good_0.png")
    assert difference(before, make_plan(request)) == ["images"]


def test_unknown_things_are_named(plan_of):
    with pytest.raises(UnknownNameError, match="did you mean epochs"):
        plan_of("epoch")
    with pytest.raises(
        ConfigError, match=r"'name_length': unknown key 'sing' \(did you mean sign\?; there are: sign, words\)"
    ):
        plan_of("name_length[sing=1]")
    with pytest.raises(ConfigError, match="sign = 'x': Input should be a valid number"):
        plan_of("name_length[sign=x]")
    with pytest.raises(UnknownNameError, match="method in --set"):
        plan_of("epochs", settings={"niqe": {"pristine": "refit"}})


def test_an_unknown_target_is_named(plan_of):
    with pytest.raises(UnknownNameError, match="unknown target of rated 'qualty': did you mean quality"):
        plan_of("epochs", targets=("qualty",))


def test_a_plugin_that_fails_while_planning_harms_nothing_else(rated_table, fresh_registries):
    class Explodes(Method):
        name = "explodes"
        title = "Explodes"
        uses_images = False
        targets = ("*",)

        @classmethod
        def weights(cls, config: MethodConfig, context: Context) -> tuple[Weights, ...]:
            raise RuntimeError("no\nweights")

        def predict(self, samples):
            raise AssertionError

    method_registry().register("explodes", Explodes, "tests")
    request = RunRequest(dataset=str(rated_table), methods=("all",), annotations_only=True)
    plan = make_plan(request)
    assert plan.unusable == {"explodes": "method 'explodes' cannot be planned: RuntimeError: no weights"}
    assert {method.label for method in plan.methods if not method.skip} >= {"generator_mean", "prompt_text"}
    with pytest.raises(PluginError, match="cannot be planned"):
        make_plan(request.model_copy(update={"methods": ("explodes",)}))


def test_a_stand_in_takes_the_place_of_a_default_but_never_of_what_was_asked_for(rated_table, fresh_registries):
    class Picky(Method):
        name = "picky"
        title = "Picky"
        uses_images = False
        trainable = False
        targets = ("*",)

        ablations: ClassVar = {"other": {"backbone": "other"}}

        class Config(ClipConfig):
            backbone: str = "real"

        @classmethod
        def note(cls, config: MethodConfig, context: Context) -> str:
            return f"computes with\n{config.backbone}"

        @classmethod
        def weights(cls, config: MethodConfig, context: Context) -> tuple[Weights, ...]:
            if config.backbone == "toy":
                return (Weights("toy", "digest", stand_in="toy"),)
            raise WeightsUnavailableError(f"no {config.backbone}", {"backbone": "toy"})

        def predict(self, samples):
            raise AssertionError

    method_registry().register("picky", Picky, "tests")

    def planned(text, **changes):
        request = RunRequest(dataset=str(rated_table), methods=(text,), annotations_only=True, **changes)
        (method,) = make_plan(request).methods
        return method

    assert planned("picky").display == "Picky (toy)"
    assert planned("picky").note == "no real; computes with toy"
    assert planned("picky").skip is None
    assert planned("picky", stand_ins=False).skip == "no real"
    assert planned("picky[backbone=real]").skip == "no real"
    assert planned("picky", backbone="other").skip == "no other"
    assert planned("picky", backbone="toy").display == "Picky (toy)"
    assert planned("picky", backbone="toy").note == "computes with toy"
    # A row of an ablation is named after its settings: nothing stands in for them, and no other option changes them.
    assert planned("picky[ablation=other]", backbone="toy").skip == "no other"
    assert planned("picky[ablation=other,backbone=toy]").display == "Picky[other,backbone=toy] (toy)"


def test_the_option_backbone_is_for_clips_alone(rated_table, fresh_registries):
    class Convolutional(Method):
        name = "convolutional"
        title = "Convolutional"
        uses_images = False
        targets = ("*",)

        class Config(MethodConfig):
            backbone: str = "resnet"

        def predict(self, samples):
            raise AssertionError

    method_registry().register("convolutional", Convolutional, "tests")
    request = RunRequest(
        dataset=str(rated_table), methods=("convolutional",), annotations_only=True, backbone="ViT-B-32:openai"
    )
    (method,) = make_plan(request).methods
    assert method.config.backbone == "resnet"
    assert method.skip is None


def test_methods_that_need_images_are_skipped_with_the_reason(plan_of):
    (method,) = plan_of("niqe").methods
    assert method.skip == "needs images; --annotations-only was given"
    assert method.cells == []


def test_missing_images_are_a_skip_that_says_how_to_get_them(rated_table):
    (method,) = make_plan(RunRequest(dataset=str(rated_table), methods=("niqe",))).methods
    assert method.skip.startswith("needs images, and 60 of 60 are missing (first: good_0.png)")


def test_no_target_in_common_is_a_skip(plan_of):
    (method,) = plan_of("clipscore").methods
    assert method.skip == "predicts alignment; rated rates quality"


def test_the_epoch_method_gets_validation_only_when_the_selection_asks(plan_of, tmp_path, monkeypatch):
    from agiqa_bench.execution.progress import Silent
    from agiqa_bench.execution.runner import run
    from agiqa_bench.execution.store import Store

    parts = {"validation": "epochs 42 6", "refit": "epochs 42 6", "last": "epochs 48 None", "test": "epochs 48 12"}
    for select, expected in parts.items():
        log = tmp_path / f"{select}.log"
        monkeypatch.setenv("EXAMPLE_LOG", str(log))
        run(plan_of("epochs", select=select, repeats=1), Store(tmp_path / select), Silent())
        assert log.read_text().splitlines() == [expected]


def test_a_file_among_the_settings_is_shown_without_its_folder(plan_of, tmp_path):
    files = [tmp_path / folder / "p.npz" for folder in ("one", "two")]
    for file in files:
        file.parent.mkdir()
        file.touch()
    rows = [f"niqe[pristine={file}]" for file in files]
    plan = plan_of(rows[0], f"cnn[backbone=resnet18:{files[0]},resize=64]", "cnn[backbone=resnet18:none]")
    assert plan.methods[0].label == rows[0]
    shown = ["NIQE[pristine=p.npz]", "CNN[backbone=resnet18:p.npz,resize=64]", "CNN[backbone=resnet18:none]"]
    assert [method.display for method in plan.methods] == shown
    # Two files of one name are told apart by their folders.
    assert [method.display for method in plan_of(*rows).methods] == ["NIQE[pristine=p.npz]", rows[1]]
    folder = plan_of(f"blipscore[weights={tmp_path / 'one'}]", "blipscore[weights=.]")
    assert [method.display for method in folder.methods] == ["BLIPScore[weights=one]", "BLIPScore[weights=.]"]
    missing = tmp_path / "missing.npz"
    assert plan_of(f"niqe[pristine={missing}]").methods[0].display == f"NIQE[pristine={missing}]"
    long_text = "x/" * 5000
    assert plan_of(f"niqe[pristine={long_text}]").methods[0].display == f"NIQE[pristine={long_text}]"


def blank_table(folder, name="blank.csv"):
    file = folder / name
    rows = [f"{n}.png,{f'prompt {n // 2}' if n else ''},g{n % 2},{n}\n" for n in range(20)]
    file.write_text("image,prompt,generator,mos\n" + "".join(rows), encoding="utf-8")
    return str(file)


def test_a_method_that_uses_prompts_is_skipped_where_one_is_blank(tmp_path, fresh_registries):
    names = ("prompt_text", "generator_prompt", "generator_mean")
    request = {"methods": names, "annotations_only": True}
    plan = make_plan(RunRequest(dataset=blank_table(tmp_path), **request))
    why = "needs prompts, and 1 of 20 rows have none (first: 0.png); fill them in"
    assert [method.skip for method in plan.methods] == [why, why, None]
    assert all(not method.cells for method in plan.methods[:2])
    assert [fault.code for fault in plan.dataset.faults] == ["blank-prompt"]
    assert describe_plan(plan)["warnings"] == [plan.dataset.faults[0].message]
    assert describe_plan(plan)["faults"] == []


def test_an_external_command_gets_blank_prompts_and_its_row_says_so(
    tmp_path, rated_table, fresh_registries, monkeypatch
):
    monkeypatch.setattr("agiqa_bench.methods.external.External.uses_images", False)
    blank, method = blank_table(tmp_path), "external[command='true {input} {output}']"
    (row,) = make_plan(RunRequest(dataset=blank, methods=(method,), annotations_only=True)).methods
    assert row.skip is None
    assert row.note.endswith("; given empty prompts: 1 of 20 rows have none (first: 0.png)")
    # A zero-shot method never sees the rows of the data set that others learn from.
    both = {"train_on": blank, "test_on": str(rated_table), "annotations_only": True}
    (row,) = make_plan(RunRequest(methods=(method,), **both)).methods
    assert "empty prompts" not in row.note


def test_the_plan_tells_prompt_and_group_shares_in_two_lines(tmp_path, fresh_registries, capsys):
    file = tmp_path / "batches.csv"
    rows = [f"{n}.png,p{n // 4},batch{n % 4},{n}\n" for n in range(20)]
    file.write_text("image,prompt,group,mos\n" + "".join(rows), encoding="utf-8")
    plan = make_plan(RunRequest(dataset=str(file), methods=("generator_mean",), annotations_only=True))
    assert (plan.protocol["leaked_prompts"], plan.protocol["leaked_groups"]) == (1.0, 0.0)
    show_plan(plan, tmp_path, Console(width=200))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:4] == [
        "10 splits, grouped: 100% of the test images have their prompt in the training part",
        "                    0% of the test images have their group in the training part",
        "                    100% of the test images have their generator in the training part",
    ]
    assert lines[4].startswith("  warning: 5 prompt(s) stand in several groups (first: 'p0' in 4)")
