import pytest

from agiqa_bench.errors import ConfigError
from agiqa_bench.execution.request import EVERY_ABLATION, build_request, parse_method, parse_setting, split_methods


def test_the_command_line_wins_over_the_file(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text(
        'dataset = "demo"\nmethods = "niqe,clipscore[backbone=demo-rn]"\nrepeats = 3\n'
        '[settings.clipscore]\nprefix = "A picture of "\nbackbone = "demo-vit"\n'
    )
    request = build_request(file, {"repeats": 5, "settings": {"clipscore": {"backbone": "demo-rn"}}})
    assert request.dataset == "demo"
    assert request.methods == ("niqe", "clipscore[backbone=demo-rn]")
    assert request.repeats == 5
    assert request.settings == {"clipscore": {"prefix": "A picture of ", "backbone": "demo-rn"}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("repeats = ", "not a readable TOML file"),
        (
            'dataset = "demo"\nrepeat = 3',
            r"'repeat' \(did you mean repeats or preset\?; there are: dataset, methods",
        ),
        ('dataset = "demo"\nset = ["niqe"]', r"write it as method\.key=value"),
        ('dataset = "demo"\nrepeats = 0', "repeats = 0: Input should be greater than or equal to 1"),
        ("repeats = 3", "which data set"),
        ('dataset = "demo"\nsettings = 3', r"write settings as \[settings.METHOD\]"),
        ('dataset = "demo"\n[settings]\nniqe = 3', r"write settings as \[settings.METHOD\]"),
        ('dataset = "demo"\nsplits = "s.json"\nrepeats = 2', "--splits brings its own repeats: leave out --repeats"),
    ],
)
def test_bad_files_are_one_line(tmp_path, content, message):
    file = tmp_path / "run.toml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=message):
        build_request(file, {})


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        build_request(tmp_path / "absent.toml", {})


def test_methods_are_split_outside_of_brackets_and_values_typed():
    assert split_methods("a,b[x=1,y=two], c ,") == ("a", "b[x=1,y=two]", "c")
    spec = parse_method("b[x=1,y=two words,z=[1, 2],w=true]")
    assert spec.settings == (("x", 1), ("y", "two words"), ("z", [1, 2]), ("w", True))


def test_brackets_and_quotes_hold_commas_together():
    assert split_methods("b[x=1,z=[1,2]],c") == ("b[x=1,z=[1,2]]", "c")
    assert split_methods('a[ablation="x, y",k=v],b[k=it\'s, fine]') == ('a[ablation="x, y",k=v]', "b[k=it's, fine]")
    assert split_methods('a[k="]"],b') == ('a[k="]"]', "b")
    assert parse_method("b[x=1,z=[1,2]]").settings == (("x", 1), ("z", [1, 2]))
    assert parse_method('b[x="p, q=r",y=s, t]').settings == (("x", "p, q=r"), ("y", "s, t"))
    assert parse_method('b[x="a \\"quoted\\", word",y=1]').settings == (("x", 'a "quoted", word'), ("y", 1))


@pytest.mark.parametrize(
    ("text", "row", "settings"),
    [
        ("m[ablation]", EVERY_ABLATION, {}),
        ("m[ablation,epochs=5]", EVERY_ABLATION, {"epochs": 5}),
        ("m[epochs=5, ablation]", EVERY_ABLATION, {"epochs": 5}),
        ("m[ablation=Image2Prompt]", "Image2Prompt", {}),
        ("m[ablation=Image2Prompt + integral prompt,epochs=5]", "Image2Prompt + integral prompt", {"epochs": 5}),
        ("m[ablation=all, with [QA],epochs=5]", "all, with [QA]", {"epochs": 5}),
        ('m[ablation="a=b, c=d",epochs=5]', "a=b, c=d", {"epochs": 5}),
        ("m[ablation=12]", "12", {}),
        ("m[ablation=]", "", {}),
        ("m[epochs=5]", None, {"epochs": 5}),
    ],
)
def test_ablations_are_asked_for_in_brackets(text, row, settings):
    (only,) = split_methods(text)
    assert only == text
    spec = parse_method(only)
    assert (spec.name, spec.ablation, dict(spec.settings)) == ("m", row, settings)


@pytest.mark.parametrize("text", ["a[b", "a[b]", "a b", "[x=1]", "a=1"])
def test_malformed_methods_say_how_to_write_them(text):
    with pytest.raises(ConfigError, match=r"name\[key=value|is not key=value"):
        parse_method(text)


@pytest.mark.parametrize("text", ["alpha=1", "prompt_text.alpha", ".alpha=1", "prompt_text.=1"])
def test_malformed_settings_say_how_to_write_them(text):
    with pytest.raises(ConfigError, match=r"method\.key=value"):
        parse_setting(text)
