"""What the JSON records of a store must hold before anything is read out of them: checked once, where they are read."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from agiqa_bench.evaluation.metrics import METRICS


class _Record(BaseModel):
    """What else a record holds is let through: newer versions know more."""

    model_config = ConfigDict(extra="allow", strict=True)


_Count = Annotated[int, Field(ge=0, lt=2**63)]
_Positive = Annotated[int, Field(gt=0, lt=2**63)]
_Seconds = Annotated[float, Field(ge=0, le=1e12)]
_Share = Annotated[float, Field(ge=0, le=1)]
"""Numbers that can be computed with: what is larger was not written by a run."""


class _Device(_Record):
    type: str
    name: str


class _Commit(_Record):
    commit: str
    changed: bool


class _Environment(_Record):
    agiqa_bench: str
    git: _Commit | None
    python: str
    platform: str
    cpu_count: int | None
    argv: list[str]
    libraries: dict[str, str]
    device: _Device


class _Weights(_Record):
    name: str
    digest: str
    stand_in: str


class _Protocol(_Record):
    dataset: str
    annotations: str
    split: str
    splits_digest: str
    seed: int
    select: str
    repeats: _Positive
    synthetic: bool
    leaked_prompts: _Share
    leaked_groups: _Share
    leaked_generators: _Share
    candidates: Literal["prompt", "group"]


class _Part(_Record):
    repeat: _Count
    fit: _Positive
    test: _Positive


_Repeat = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
_Key = Annotated[str, Field(pattern=r"^\w+$")]
"""Of a cell; both become part of its folder's name."""


class _Row(_Record):
    label: str
    display: str
    targets: list[str]
    weights: list[_Weights]
    diagnostic: bool
    trainable: bool
    selects_epoch: bool
    citation: str
    preset: str
    note: str
    skip: str | None
    keys: dict[_Repeat, _Key]


class _Request(_Record):
    targets: list[str]


class _Outcome(_Record):
    failures: list[Annotated[list[str], Field(min_length=3, max_length=3)]]


class _Plan(_Record):
    protocol: _Protocol
    request: _Request
    targets: list[str]
    dataset_title: str
    parts: list[_Part]
    images: str | None
    faults: list[str]
    warnings: list[str]
    methods: list[_Row]
    unusable: dict[str, str]
    environment: _Environment
    outcome: _Outcome = _Outcome(failures=[])

    @model_validator(mode="after")
    def _check_repeats(self) -> Self:
        sizes = {str(part.repeat) for part in self.parts}
        if odd := [repeat for row in self.methods for repeat in row.keys if repeat not in sizes]:
            raise ValueError(f"repeat {odd[0]} has no parts")
        return self


_Name = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
"""Of a file in the record's own folder, and in no other."""


class _Folder(_Record):
    key: str
    files: dict[_Name, str]
    model: _Name | None = None


class _Costs(_Record):
    fit_seconds: _Seconds
    predict_seconds: _Seconds
    predicted: _Positive
    peak_device_bytes: _Count | None = None
    peak_host_bytes: _Count | None = None
    host_bytes_before: _Count | None = None
    parameters: _Count | None = None
    trainable_parameters: _Count | None = None
    trained_together: _Positive = 1
    micro_batch: _Positive | None = None
    scoring_batch: _Positive | None = None


_Chosen = dict[str, Annotated[list[_Positive], Field(min_length=2, max_length=2)]]
"""By name of a training the epoch that was chosen, and of how many."""


class _FirstFit(_Record):
    chosen: _Chosen
    history: list[dict[str, float | None]]
    seconds: _Seconds


class _Labels(_Record):
    labels: _Count
    rows: _Count


class _Within(_Record):
    prompt: _Labels


class _Cell(_Record):
    metrics: dict[str, dict[str, Any]]
    costs: _Costs
    environment: _Environment
    precision: str
    weights: list[_Weights]
    started: str
    ended: str
    chosen: _Chosen = {}


_CORRELATION = 1 + 1e-9
"""What no correlation is above, but for rounding."""

_LARGEST = 1e100
"""What no error in units of MOS is above; squares of such numbers can still be added up."""


def plan_fault(record: object) -> str:
    """What is wrong with the record of a plan (see `agiqa_bench.execution.runner.describe_plan`); empty if nothing."""
    return _fault(_Plan, record)


def folder_fault(record: object) -> str:
    """What is wrong with the record of a folder (see `agiqa_bench.execution.cell_files`); empty if nothing."""
    return _fault(_Folder, record)


def first_fit_fault(record: object) -> str:
    """What is wrong with the record of the first of two fits (see `agiqa_bench.execution.cell`); empty if nothing."""
    return _fault(_FirstFit, record)


def cell_fault(record: object) -> str:
    """What is wrong with the record of a finished cell (see `CellResult.record`); empty if nothing."""
    fault = _fault(_Cell, record)
    if fault or not isinstance(record, dict):
        return fault
    for target, values in record["metrics"].items():
        for metric in METRICS:
            value = values.get(metric.key, "missing")
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                return f"metrics.{target}.{metric.key}: not there"
            low, high = (-_CORRELATION, _CORRELATION) if metric.better == "higher" else (0, _LARGEST)
            if value is not None and not low <= value <= high:
                return f"metrics.{target}.{metric.key}: {value} is no such metric"
        if "within" in values and (fault := _fault(_Within, values["within"])):
            return f"metrics.{target}.within.{fault}"
        reasons = values.get("undefined")
        if not isinstance(reasons, dict) or not all(isinstance(reason, str) for reason in reasons.values()):
            return f"metrics.{target}.undefined: not there"
    return ""


def _fault(model: type[_Record], record: object) -> str:
    try:
        model.model_validate(record)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        what = "not there" if first["type"] == "missing" else first["msg"]
        return f"{where}: {what}" if where else "holds something else than a record"
    return ""
