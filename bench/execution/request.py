"""What a user asks for: the options of `agiqa-bench run`, from the command line, a TOML file, or Python."""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from agiqa_bench.data.dataset import parse_mos_range
from agiqa_bench.errors import ConfigError
from agiqa_bench.evaluation.rules import SplitRule
from agiqa_bench.method import Selection
from agiqa_bench.named_file import read_text

PresetName = Literal["auto", "paper", "quick"]


class RunRequest(BaseModel):
    """A run as it was asked for; the defaults are the protocol of the project.

    It names either `dataset`, or `train_on` and `test_on`: then methods learn from the one and are judged on the other.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str = ""
    methods: tuple[str, ...] = ("all",)
    train_on: str = ""
    test_on: str = ""
    data_root: Path | None = None
    annotations_only: bool = False
    targets: tuple[str, ...] = ()
    mos_range: dict[str, tuple[float, float]] = Field(default_factory=dict)
    split: SplitRule = "grouped"
    splits_file: Path | None = None
    repeats: int = Field(default=10, ge=1, le=1000, strict=True)
    seed: int = Field(default=0, ge=0, lt=2**63, strict=True)
    select: Selection = "refit"
    preset: PresetName = "auto"
    backbone: str | None = None
    stand_ins: bool = True
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict)
    python_for: dict[str, Path] = Field(default_factory=dict)
    device: str = "auto"
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    batch_size: int | None = Field(default=None, ge=1, lt=2**31, strict=True)
    deterministic: bool = False
    jobs: int = Field(default=1, ge=1, lt=2**31, strict=True)
    executor: Literal["local", "ray"] = "local"
    ray_address: str | None = None
    shard: tuple[int, int] | None = None
    cell_timeout: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    output: Path | None = None
    save_models: bool = False
    offline: bool = False
    plugins: tuple[Path, ...] = ()

    @property
    def data(self) -> tuple[str, ...]:
        """The data sets that are asked for: one, or the one to learn from and the one to be judged on."""
        return (self.dataset,) if self.dataset else (self.train_on, self.test_on)

    @property
    def crosses(self) -> bool:
        """Whether methods learn from one data set and are judged on another."""
        return not self.dataset

    @field_validator("shard", mode="before")
    @classmethod
    def _parse_shard(cls, value: Any) -> Any:
        text = "/".join(map(str, value)) if isinstance(value, list | tuple) else value
        return parse_shard(text) if isinstance(text, str) else value

    @field_validator("mos_range", mode="before")
    @classmethod
    def _parse_mos_range(cls, value: Any) -> Any:
        """Texts as on the command line, or in a file also `[LOW, HIGH]`, or a table with one for each target."""
        if isinstance(value, list | tuple) and not all(isinstance(each, str) for each in value):
            value = ",".join(map(str, value))
        texts = [value] if isinstance(value, str) else value
        return dict(map(parse_mos_range, texts)) if isinstance(texts, list | tuple) else value

    @field_validator("mos_range")
    @classmethod
    def _check_mos_range(cls, ranges: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        for target, (low, high) in ranges.items():
            parse_mos_range(f"{target}={low},{high}")
        return ranges

    @model_validator(mode="after")
    def _check_executor(self) -> Self:
        if self.ray_address is not None and self.executor != "ray":
            raise ConfigError("--ray-address names a Ray cluster: give --executor ray as well")
        if self.executor == "ray" and self.jobs > 1:
            raise ConfigError("--jobs is for this machine's processes; with --executor ray the cluster decides")
        return self

    @model_validator(mode="after")
    def _check_data(self) -> Self:
        if self.train_on or self.test_on:
            _check_crossing(self)
        elif not self.dataset:
            raise ConfigError("which data set? give --dataset NAME (see 'agiqa-bench datasets list')")
        return self


def _check_crossing(request: RunRequest) -> None:
    """Refuse, in one line, what does not go with two data sets."""
    if request.dataset:
        raise ConfigError(
            "--dataset trains and tests on one data set, --train-on and --test-on on two: give the one or the others"
        )
    if not (request.train_on and request.test_on):
        given, wanted = ("--train-on", "--test-on") if request.train_on else ("--test-on", "--train-on")
        raise ConfigError(f"{given} {request.train_on or request.test_on}: give {wanted} NAME as well")
    if request.splits_file is not None:
        raise ConfigError(
            "--splits holds splits of one data set: leave it out with --train-on and --test-on, which use the splits "
            "of plain runs on the two"
        )
    if request.split == "generator":
        raise ConfigError(
            "--split generator leaves out one generator family at a time, and two data sets have different ones: use "
            "--split grouped or image with --train-on and --test-on"
        )


_MOST_BYTES = 2**20
"""Of a configuration file."""

_MOST_LEVELS = 16
"""Of tables and lists in each other in a configuration file."""

_SHOWN = 200
"""Letters of a wrong value in a message."""

_FILE_NAMES = {"plugin": "plugins", "splits": "splits_file"}
"""Options whose name on the command line, and so in a file, is not the request's."""


def build_request(file: Path | None, options: dict[str, Any]) -> RunRequest:
    """Merge a TOML file with command-line options (which win) and check the result.

    Args:
        file: TOML file with the keys of `RunRequest`; its `[settings.<method>]` tables are what `--set` gives.
        options: Options that were given on the command line.

    Raises:
        ConfigError: The file cannot be read, or an option is unknown or not valid.
    """
    merged = {} if file is None else _read_toml(file)
    given = merged.pop("set", [])
    if not isinstance(given, list):
        raise ConfigError(f'config {file}: write set as a list of texts, set = ["METHOD.KEY=VALUE"]')
    added: dict[str, dict[str, Any]] = {}
    for text in given:
        method, key, value = parse_setting(str(text))
        added.setdefault(method, {})[key] = value
    for option, key in _FILE_NAMES.items():
        if option in merged:
            merged[key] = merged.pop(option)
    settings: dict[str, dict[str, Any]] = {}
    for source in (merged.get("settings", {}), added, options.get("settings", {})):
        if not isinstance(source, dict) or not all(isinstance(values, dict) for values in source.values()):
            raise ConfigError(f"config {file}: write settings as [settings.METHOD] with lines key = value")
        for method, values in source.items():
            settings.setdefault(method, {}).update(values)
    if isinstance(pythons := merged.get("python_for"), dict) and "python_for" in options:
        options = options | {"python_for": pythons | options["python_for"]}
    merged |= options
    if settings:
        merged["settings"] = settings
    if isinstance(merged.get("methods"), str):
        merged["methods"] = split_methods(merged["methods"])
    for text in ("targets", "plugins"):
        if isinstance(merged.get(text), str):
            merged[text] = [part.strip() for part in merged[text].split(",")]
    if "splits_file" in merged and (clash := sorted(merged.keys() & {"split", "repeats"})):
        raise ConfigError(f"--splits brings its own {' and '.join(clash)}: leave out --{' and --'.join(clash)}")
    try:
        return RunRequest.model_validate(merged)
    except ValidationError as error:
        where = f"config {file}: " if file is not None else ""
        raise ConfigError(where + explain_validation(error, RunRequest)) from error


def _read_toml(file: Path) -> dict[str, Any]:
    text = read_text(file, "config", ConfigError, _MOST_BYTES)
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"config {file}: not a readable TOML file ({error})") from error
    _check_values(file, content)
    return content


def _check_values(file: Path, content: dict[str, Any]) -> None:
    """Refuse what no option means and what others would stumble over: deep nesting, and texts with a NUL."""
    level: list[Any] = [content]
    for _ in range(_MOST_LEVELS):
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                inner += [*value.keys(), *value.values()]
            elif isinstance(value, list):
                inner += value
            elif isinstance(value, str) and "\0" in value:
                raise ConfigError(f"config {file}: a text holds a NUL, which no option can have; take it out")
        level = inner
    if level:
        raise ConfigError(f"config {file}: it nests deeper than {_MOST_LEVELS} levels; no option does")


def explain_validation(error: ValidationError, model: type[BaseModel]) -> str:
    """One line for a pydantic error: each key, what is wrong, and for an unknown key what there is."""
    parts = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"])[:_SHOWN]
        if item["type"] == "extra_forbidden":
            close = difflib.get_close_matches(key, model.model_fields, n=2, cutoff=0.6)
            known = f"did you mean {' or '.join(close)}?; " if close else ""
            parts.append(f"unknown key '{key}' ({known}there are: {', '.join(model.model_fields) or 'none'})")
        else:
            parts.append(f"{key} = {_shown(item['input'])}: {item['msg']}")
    return "; ".join(parts)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


@dataclass(frozen=True)
class MethodSpec:
    """A method as it was asked for: `name`, `name[key=value,...]`, `name[ablation,...]` or `name[ablation=row,...]`.

    Attributes:
        ablation: A row of the method's ablation table; `EVERY_ABLATION` means each of them, None the method itself.
    """

    name: str
    settings: tuple[tuple[str, Any], ...] = ()
    ablation: str | None = None


EVERY_ABLATION = "*"

_ABLATION = "ablation"

_PIECE = re.compile(r"""(?<=[=,\[])\s*(?:"(?:[^"\\]|\\.)*"|'[^']*')|.""", re.DOTALL)
"""A quoted value, or one letter; elsewhere than at the beginning of a value a quote is an apostrophe."""

_SPEC = re.compile(r"(?P<name>[^\[\]=,\s]+)(?:\[(?P<settings>.*)\])?", re.DOTALL)


def split_methods(text: str) -> tuple[str, ...]:
    """Split `a,b[k=v,l=w],c` at the commas outside of brackets.

    >>> split_methods("niqe, clipscore[backbone=demo-rn,prefix=x]")
    ('niqe', 'clipscore[backbone=demo-rn,prefix=x]')
    """
    return tuple(part.strip() for part in _split_at_commas(text) if part.strip())


def _split_at_commas(text: str) -> list[str]:
    """Split at the commas outside of brackets and quotes."""
    parts, depth = [""], 0
    for piece in _PIECE.findall(text):
        depth += (piece == "[") - (piece == "]")
        if piece == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += piece
    return parts


def parse_method(text: str) -> MethodSpec:
    """Parse `name[key=value,...]`; `ablation` among the keys asks for rows of the method's ablation table.

    Commas and equals signs within a value need quotes, unless what follows the comma holds no equals sign.

    Raises:
        ConfigError: It does not have that form.

    >>> parse_method("clipscore[backbone=demo-rn]").settings
    (('backbone', 'demo-rn'),)
    >>> parse_method("some_method[ablation=fusion + new token,epochs=5]")
    MethodSpec(name='some_method', settings=(('epochs', 5),), ablation='fusion + new token')
    """
    match = _SPEC.fullmatch(text)
    if match is None:
        raise ConfigError(f"method '{text}': write it as name or name[key=value,key=value]")
    settings, ablation = [], None
    for part in _join_plain_text(_split_at_commas(match["settings"] or "")):
        key, equals, value = (side.strip() for side in part.partition("="))
        if key == _ABLATION:
            found = parse_value(value)
            ablation = (found if isinstance(found, str) else value) if equals else EVERY_ABLATION
            continue
        if not equals or not key:
            raise ConfigError(f"method '{text}': '{part}' is not key=value")
        settings.append((key, parse_value(value)))
    return MethodSpec(match["name"], tuple(settings), ablation)


def _join_plain_text(parts: list[str]) -> list[str]:
    """Join to its value what is neither `key=value` nor `ablation`: the comma before it belongs to plain text."""
    joined: list[str] = []
    for part in filter(str.strip, parts):
        if joined and "=" not in part and part.strip() != _ABLATION:
            joined[-1] += f",{part}"
        else:
            joined.append(part)
    return joined


def parse_setting(text: str) -> tuple[str, str, Any]:
    """Parse `method.key=value` of `--set`.

    Raises:
        ConfigError: It does not have that form.

    >>> parse_setting("clipscore.prefix=A photo of ")
    ('clipscore', 'prefix', 'A photo of ')
    """
    path, equals, value = text.partition("=")
    method, dot, key = path.partition(".")
    if not equals or not dot or not method.strip() or not key.strip():
        raise ConfigError(f"--set '{text}': write it as method.key=value, e.g. clipscore.backbone=demo-rn")
    return method.strip(), key.strip(), parse_value(value)


def parse_shard(text: str) -> tuple[int, int]:
    """Parse `i/n` of `--shard`: the i-th of n parts, counted from 1.

    Raises:
        ConfigError: It does not have that form.

    >>> parse_shard("2/3")
    (2, 3)
    """
    match = re.fullmatch(r"\s*([0-9]{1,6})\s*/\s*([0-9]{1,6})\s*", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ConfigError(f"--shard {text}: write i/n with i from 1 to n, e.g. 2/3 for the second of three parts")
    return int(match[1]), int(match[2])


def parse_python_for(text: str) -> tuple[str, str]:
    """Parse `name=path` of `--python-for`.

    Raises:
        ConfigError: It does not have that form.

    >>> parse_python_for("imagereward=/path/to/env/bin/python")
    ('imagereward', '/path/to/env/bin/python')
    """
    name, equals, path = (part.strip() for part in text.partition("="))
    if not equals or not name or not path:
        raise ConfigError(f"--python-for '{text}': write it as method=interpreter, e.g. hps=/path/to/env/bin/python")
    return name, path


def parse_value(text: str) -> Any:
    """A setting's value: TOML where it is TOML (numbers, booleans, lists, quoted strings), the plain text otherwise.

    >>> parse_value("0.5"), parse_value("true"), parse_value("[1, 2]"), parse_value("demo-rn")
    (0.5, True, [1, 2], 'demo-rn')
    """
    try:
        found = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):  # ValueError: a TOMLDecodeError, or a number of thousands of digits
        return text
    return found["value"] if len(found) == 1 else text
