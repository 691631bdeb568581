"""Whatever the bytes, a reader gives what they hold or one of the package's own errors, and no warning.

Each function is a target. Here it gets a few examples, always the same ones; `keep_on.py` beside this file feeds it for
as long as somebody likes. What that finds becomes an `@example` here, or a test beside it that names the place.
"""

from __future__ import annotations

import io
import json
import math
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agiqa_bench.errors import AgiqaError
from agiqa_bench.sealed import SEAL, seal

TARGET = settings(max_examples=60, derandomize=True, database=None, deadline=None, suppress_health_check=HealthCheck)


@contextmanager
def only_own_errors() -> Iterator[None]:
    """Lets the package's errors pass that say something; all else, warnings too, is a finding."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            yield
        except AgiqaError as error:
            assert str(error).strip()  # noqa: PT017 - of an error that may come


@lru_cache
def folder() -> Path:
    """A folder for the files of all examples, in memory where there is such a place."""
    place = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(prefix="agiqa-fuzz-", dir=place if place.is_dir() else None))
    import atexit

    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def written(name: str, content: bytes) -> Path:
    path = folder() / name
    path.write_bytes(content)
    return path


EDITS = st.lists(st.tuples(st.integers(0, 2**14), st.integers(0, 12), st.binary(max_size=12)), max_size=6)
"""Places, how many bytes are taken out there, and what is put in instead."""


def edited(content: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for place, length, new in edits:
        start = place % (len(content) + 1)
        content = content[:start] + new + content[start + length :]
    return content


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    st.sampled_from(["", "quality", "../..", "\ud800", "a" * 300, 10**400, -1, 0, 2**63, 1e308, "0", "nan"]),
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner))


def changed(value: Any, places: list[int], new: Any) -> Any:
    """A copy with the value replaced that one comes to by choosing at each level the entry of a number."""
    if not places or not isinstance(value, dict | list) or not value:
        return new
    if isinstance(value, list):
        number = places[0] % len(value)
        return [changed(item, places[1:], new) if place == number else item for place, item in enumerate(value)]
    chosen = sorted(value)[places[0] % len(value)]
    return {key: changed(item, places[1:], new) if key == chosen else item for key, item in value.items()}


PLACES = st.lists(st.integers(0, 40), min_size=1, max_size=6)


# Tables

ROWS = {"image": ["a.png", "b.png"], "prompt": ["a cat", "a dog"], "generator": ["x", "y"], "mos": [1.5, 2.0]}


@lru_cache
def whole_table(suffix: str) -> bytes:
    frame, buffer = pd.DataFrame(ROWS), io.BytesIO()
    if suffix == "parquet":
        frame.to_parquet(buffer)
    elif suffix == "xlsx":
        with pd.ExcelWriter(buffer, engine="openpyxl") as book:
            frame.to_excel(book, index=False)
            book.book.active.merge_cells("B2:B3")
    else:
        frame.to_csv(buffer, index=False, sep={"csv": ",", "tsv": "\t"}[suffix])
    return buffer.getvalue()


def with_part(book: bytes, number: int, edits: list[tuple[int, int, bytes]]) -> bytes:
    """A workbook whose archive is whole, and one of whose files is not."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(book)) as old, zipfile.ZipFile(buffer, "w") as new:
        names = old.namelist()
        for name in names:
            content = old.read(name)
            new.writestr(name, edited(content, edits) if name == names[number % len(names)] else content)
    return buffer.getvalue()


def read_any_table(path: Path) -> None:
    from agiqa_bench.data.loose_files import from_table
    from agiqa_bench.datasets.table import TableDataset

    with only_own_errors():
        dataset = TableDataset(path, annotations_only=True)
        assert all(math.isfinite(mos) for target in dataset.targets for mos in dataset.samples[f"mos_{target.name}"])
        assert len(dataset.fingerprint) == 64
    with only_own_errors():
        from_table(path)


@TARGET
@given(st.sampled_from(["csv", "tsv", "parquet", "xlsx"]), EDITS)
def test_tables(suffix: str, edits: list[tuple[int, int, bytes]]) -> None:
    read_any_table(written(f"t.{suffix}", edited(whole_table(suffix), edits)))


@TARGET
@given(st.sampled_from(["csv", "tsv", "parquet", "xlsx"]), st.binary(max_size=200) | st.text(max_size=80))
def test_tables_of_any_bytes(suffix: str, content: bytes | str) -> None:
    if isinstance(content, str):
        content = f"image,prompt,mos\n{content}".encode("utf-8", "surrogatepass")
    read_any_table(written(f"t.{suffix}", content))


@TARGET
@given(st.integers(0, 12), EDITS)
def test_workbooks(number: int, edits: list[tuple[int, int, bytes]]) -> None:
    read_any_table(written("t.xlsx", with_part(whole_table("xlsx"), number, edits)))


@TARGET
@given(
    st.dictionaries(st.sampled_from([*ROWS, "mos_x", "MOS", "group", "z"]), st.lists(SCALARS, min_size=2, max_size=2))
)
def test_parquet_of_any_values(columns: dict[str, list[Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with suppress(pa.ArrowException, OverflowError, UnicodeError):  # it is pyarrow that cannot write these
        pq.write_table(pa.table(ROWS | columns), folder() / "v.parquet")
        read_any_table(folder() / "v.parquet")


# Split files


@lru_cache
def samples() -> pd.DataFrame:
    rows = [
        {"image": f"{n}.png", "group": f"p{n % 8}", "generator": f"g{n % 3}", "family": f"f{n % 3}"} for n in range(24)
    ]
    return pd.DataFrame(rows).assign(prompt="p", path="", mos_quality=range(24)).astype({"mos_quality": float})


@lru_cache
def whole_splits(rule: str) -> bytes:
    from agiqa_bench.evaluation.split_file import splits_text
    from agiqa_bench.evaluation.splits import make_splits

    splits = make_splits(samples(), "t", rule, 2)
    return splits_text(splits, samples(), dataset="t", fingerprint="f", rule=rule, seed=0).encode()


RULES = st.sampled_from(["grouped", "image", "generator"])


def read_any_splits(content: bytes) -> None:
    from agiqa_bench.evaluation.split_file import import_splits

    path = written("splits.json", content)
    with only_own_errors():
        for split in import_splits(path, samples(), dataset="t", fingerprint="f").splits:
            assert sorted([*split.train, *split.validation, *split.test]) == list(range(24))


@TARGET
@given(RULES, EDITS)
def test_split_files(rule: str, edits: list[tuple[int, int, bytes]]) -> None:
    read_any_splits(edited(whole_splits(rule), edits))


@TARGET
@given(RULES, PLACES, VALUES, st.booleans())
def test_split_files_of_any_values(rule: str, places: list[int], value: Any, undigested: bool) -> None:
    document = json.loads(whole_splits(rule))
    if undigested:
        for part in (document, *document["splits"]):
            del part["digest"]
    read_any_splits(json.dumps(changed(document, places, value)).encode())


# Run configuration

CONFIG = b"""dataset = "demo"
methods = ["niqe", "clipscore[prefix='a, b']"]
set = ["niqe.pristine=refit"]
targets = ["quality"]
repeats = 3
seed = 1
jobs = 2
shard = "1/2"
cell_timeout = 2.5
plugins = ["a.py"]
python_for = { hps = "/usr/bin/python" }
[settings.clipscore]
prefix = "A photo of "
"""


def read_any_config(content: bytes) -> None:
    from agiqa_bench.execution.request import build_request, parse_method, split_methods

    path = written("run.toml", content)
    with only_own_errors():
        request = build_request(path, {})
        for method in request.methods:
            parse_method(method)
            split_methods(method)


@TARGET
@given(EDITS)
def test_configuration(edits: list[tuple[int, int, bytes]]) -> None:
    read_any_config(edited(CONFIG, edits))


KEYS = ("methods", "train_on", "targets", "data_root", "split", "splits", "repeats", "settings", "set", "python_for")
KEYS += ("plugin", "plugins", "shard", "cell_timeout", "executor", "batch_size", "seed", "output", "device", "other")


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value) if isinstance(value, str | bool) else "inf" if value is None else repr(value)


@TARGET
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4))
def test_configuration_of_any_values(values: dict[str, Any]) -> None:
    lines = ['dataset = "demo"', *(f"{key} = {toml(value)}" for key, value in values.items())]
    read_any_config("\n".join(lines).encode("utf-8", "surrogatepass"))


@TARGET
@given(st.text(alphabet=st.sampled_from("ab=.,[]{}\"'\\ \n0-9/:é\0"), max_size=40))
def test_options(text: str) -> None:
    from agiqa_bench.execution import request

    parsers: tuple[Callable[[str], object], ...] = (
        request.parse_method,
        request.parse_setting,
        request.parse_shard,
        request.parse_python_for,
        request.parse_value,
        lambda methods: [request.parse_method(method) for method in request.split_methods(methods)],
    )
    for parse in parsers:
        with only_own_errors():
            parse(text)


# Stored runs


@lru_cache
def run_folder() -> tuple[Path, tuple[Path, ...]]:
    """A finished run of two methods, and the files in it that are read back."""
    found = spec_from_file_location("stored_runs", Path(__file__).parents[1] / "stored_runs.py")
    assert found is not None
    assert found.loader is not None
    module = module_from_spec(found)
    found.loader.exec_module(module)
    root = folder() / "run"
    module.make_store(root, methods=3, repeats=2, images=40, generators=4)
    return root, tuple(sorted(path for path in root.rglob("*") if path.is_file()))


def read_run_with(file: Path, content: bytes) -> None:
    from agiqa_bench.execution.store import Store
    from agiqa_bench.reporting.build.report import build_report
    from agiqa_bench.reporting.files import results_csv
    from agiqa_bench.reporting.results import read_protocols, read_results

    before = file.read_bytes()
    file.write_bytes(content)
    try:
        store = Store(run_folder()[0])
        for read in (
            lambda: build_report(read_protocols(store), brief=True),
            lambda: results_csv([read_results(store)]),
        ):
            with only_own_errors():
                read()
    finally:
        file.write_bytes(before)


@TARGET
@given(st.integers(0, 100), EDITS)
def test_stored_runs(number: int, edits: list[tuple[int, int, bytes]]) -> None:
    _, files = run_folder()
    file = files[number % len(files)]
    read_run_with(file, edited(file.read_bytes(), edits))


@TARGET
@given(st.integers(0, 100), PLACES, VALUES)
def test_records_that_somebody_sealed_anew(number: int, places: list[int], value: Any) -> None:
    files = [file for file in run_folder()[1] if file.suffix == ".json" and SEAL in file.read_text("utf-8")[:10]]
    read_record_with(files[number % len(files)], lambda record: changed(record, places, value))


@pytest.mark.parametrize(
    ("file", "keys", "value"),
    [
        ("plans/*.json", ["parts"], []),
        ("plans/*.json", ["parts", 1, "fit"], -315057541987812580298019028264),
        ("cells/Method_00-*/01-*/cell.json", ["costs", "trained_together"], {}),
        ("cells/Method_00-*/01-*/cell.json", ["costs", "host_bytes_before"], 10**400),
        ("cells/Method_01-*/01-*/cell.json", ["metrics", "quality", "rmse_fitted"], -6.581066642652417e247),
        ("cells/Method_01-*/01-*/cell.json", ["metrics", "quality", "srcc_within_generator"], 10**400),
    ],
)
def test_records_that_fuzzing_has_found(file: str, keys: list[str | int], value: Any) -> None:
    def change(record: Any) -> Any:
        inner = record
        for key in keys[:-1]:
            inner = inner[key]
        assert inner[keys[-1]] != value  # it is there
        inner[keys[-1]] = value
        return record

    (path,) = run_folder()[0].glob(file)
    read_record_with(path, change)


def read_record_with(file: Path, change: Callable[[Any], Any]) -> None:
    record = json.loads(file.read_bytes())
    del record[SEAL]
    record = change(record)
    if isinstance(record, dict) and SEAL not in record:
        with suppress(UnicodeEncodeError):  # no file could hold it
            read_run_with(file, seal(record))


@TARGET
@given(PLACES, VALUES)
@example([0, 0], [3])
def test_what_a_first_fit_has_left(places: list[int], value: Any) -> None:
    from agiqa_bench.execution.records import first_fit_fault
    from agiqa_bench.method import Context

    record = changed({"chosen": {"model": [3, 5]}, "history": [{"loss": None}], "seconds": 1.0}, places, value)
    if not first_fit_fault(record):
        chosen = {name: (epoch, of) for name, (epoch, of) in record["chosen"].items()}
        assert all(Context(chosen=chosen).epochs_of(name, 5) >= 1 for name in chosen)
        assert all(entry | {"refit": 1.0} for entry in record["history"])
        assert record["seconds"] >= 0


# Weights


@lru_cache
def whole_weights(kind: str) -> bytes:
    import torch
    from safetensors.torch import save

    tensors = {"visual.proj": torch.zeros(2, 3), "text.weight": torch.ones(4)}
    if kind == "safetensors":
        return bytes(save(tensors))
    buffer = io.BytesIO()
    if kind == "torchscript":
        with warnings.catch_warnings(action="ignore"):  # it is deprecated, and what old files are
            torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 3), torch.zeros(1, 2)), buffer)
    else:
        torch.save({"state_dict": tensors}, buffer, _use_new_zipfile_serialization=kind == "zip")
    return buffer.getvalue()


def look_into(name: str, content: bytes) -> None:
    from agiqa_bench.backbones.checkpoint import inspect, read_tensors

    path = written(name, content)
    with only_own_errors():
        inspect(path)
    with only_own_errors():
        read_tensors(path, "try another")


KINDS = st.sampled_from(["zip", "old", "torchscript", "safetensors"])


@TARGET
@given(KINDS, EDITS)
def test_weights(kind: str, edits: list[tuple[int, int, bytes]]) -> None:
    look_into("w.safetensors" if kind == "safetensors" else "w.pt", edited(whole_weights(kind), edits))


@TARGET
@given(st.sampled_from(["w.pt", "w.safetensors", "w.SafeTensors", "w"]), st.binary(max_size=120))
def test_weights_of_any_bytes(name: str, content: bytes) -> None:
    look_into(name, content)


@TARGET
@given(PLACES, VALUES, st.integers(-20, 20))
def test_safetensors_headers_of_any_values(places: list[int], value: Any, off: int) -> None:
    content = whole_weights("safetensors")
    length = int.from_bytes(content[:8], "little")
    header = json.dumps(changed(json.loads(content[8 : 8 + length]), places, value)).encode()
    size = max(0, len(header) + (off if off % 4 == 0 else 0))
    look_into("w.safetensors", size.to_bytes(8, "little") + header + content[8 + length :])


@TARGET
@given(st.text(alphabet=st.sampled_from("ViT-B32RN50:/.openai demo~\0é\n"), max_size=20))
def test_names_of_backbones(name: str) -> None:
    from agiqa_bench.backbones.spec import resolve

    with only_own_errors():
        resolve(name, offline=True)
