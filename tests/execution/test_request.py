import pytest

from agiqa_bench.errors import ConfigError
from agiqa_bench.execution.request import build_request, parse_method, parse_setting, split_methods


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


@pytest.mark.parametrize("text", ["a[b", "a[b]", "a b", "[x=1]", "a=1"])
def test_malformed_methods_say_how_to_write_them(text):
    with pytest.raises(ConfigError, match=r"name\[key=value|is not key=value"):
        parse_method(text)


@pytest.mark.parametrize("text", ["alpha=1", "prompt_text.alpha", ".alpha=1", "prompt_text.=1"])
def test_malformed_settings_say_how_to_write_them(text):
    with pytest.raises(ConfigError, match=r"method\.key=value"):
        parse_setting(text)
