import os

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
    ("content", "ranges"),
    [
        ("mos_range = [1, 5]", {"*": (1.0, 5.0)}),
        ('mos_range = "1,5"', {"*": (1.0, 5.0)}),
        ('mos_range = ["-2,2", "alignment=0,100"]', {"*": (-2.0, 2.0), "alignment": (0.0, 100.0)}),
        ("[mos_range]\nalignment = [0, 100]", {"alignment": (0.0, 100.0)}),
    ],
)
def test_ranges_of_ratings_in_a_file(tmp_path, content, ranges):
    file = tmp_path / "run.toml"
    file.write_text(content)
    assert build_request(file, {"dataset": "mine.csv"}).mos_range == ranges
    assert build_request(file, {"dataset": "mine.csv", "mos_range": ["0,9"]}).mos_range == {"*": (0.0, 9.0)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("repeats = ", "not a readable TOML file"),
        (
            'dataset = "demo"\nrepeat = 3',
            r"'repeat' \(did you mean repeats or preset\?; there are: dataset, methods",
        ),
        ('dataset = "demo"\nset = ["niqe"]', r"write it as method\.key=value"),
        ('dataset = "demo"\nmos_range = [5, 1]', r"^--mos-range '5,1': write the lowest and the highest rating"),
        ('dataset = "demo"\nmos_range = 3', "mos_range = 3: Input should be a valid dictionary"),
        ('dataset = "demo"\n[mos_range]\nquality = [5, 1]', r"^--mos-range 'quality=5\.0,1\.0': write"),
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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'dataset = "demo"\nset = 5', "write set as a list of texts"),
        (b'dataset = "demo"\nset = "a.b=1"', "write set as a list of texts"),
        (b'dataset = "demo"\nsettings = 3\nset = ["a.b=1"]', r"write settings as \[settings.METHOD\]"),
        (b'dataset = "demo"\nmethods = 5', "methods = 5: Input should be a valid tuple"),
        (b'dataset = "demo"\nmethods = [["a"]]', "Input should be a valid string"),
        (b'dataset = "demo"\npython_for = 3', "python_for = 3: Input should be a valid dictionary"),
        (b'dataset = "demo"\nrepeats = true', "repeats = True: Input should be a valid integer"),
        (b'dataset = "demo"\nrepeats = 2024-01-01', "repeats = .* Input should be a valid integer"),
        (b'dataset = "demo"\nrepeats = ' + b"9" * 4000, r"repeats = 9{200}\.\.\.: Input should be less than"),
        (b'dataset = "demo"\nrepeats = ' + b"9" * 5000, "not a readable TOML file"),
        (b'dataset = "demo"\nshard = [3, 2]', "--shard 3/2: write i/n"),
        (b'dataset = "demo"\ncell_timeout = inf', "cell_timeout = inf: Input should be a finite number"),
        (b'dataset = "de\\u0000mo"', "a text holds a NUL"),
        (b'dataset = "caf\xe9"', r"is not UTF-8 text \(byte 14\)"),
        ('dataset = "demo"'.encode("utf-16"), "is not UTF-8"),
        (b"a = " + b"[" * 5000, "not a readable TOML file"),
        (b"a" + b".a" * 20_000 + b" = 1", "nests deeper than 16 levels"),
        (b"#" * (2**20 + 1), "has 1,048,577 bytes where 1,048,576 are the most"),
    ],
    ids=range(18),
)
def test_hostile_files_are_one_line(tmp_path, content, message):
    file = tmp_path / "run.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        build_request(file, {})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize(("make", "kind"), [(os.mkdir, "a folder"), (os.mkfifo, "a device or a pipe")])
def test_what_is_no_file_is_one_line(tmp_path, make, kind):
    make(tmp_path / "run.toml")
    with pytest.raises(ConfigError, match=f"is {kind}, not a file"):
        build_request(tmp_path / "run.toml", {})


def test_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "run.toml").write_bytes(b'\xef\xbb\xbfdataset = "demo"\nset = ["niqe.pristine=refit"]')
    request = build_request(tmp_path / "run.toml", {})
    assert (request.dataset, request.settings) == ("demo", {"niqe": {"pristine": "refit"}})


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
