"""Fixtures that several test packages share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ANNOTATION_FILES = (
    "agiqa1k/AIGC_MOS_Zscore.xlsx",
    "agiqa1k/AIGC_all.csv",
    "agiqa3k/data.csv",
    "aigciqa2023/AIGCIQA2023_Prompts.xlsx",
    "aigciqa2023/mos_quality_authenticity.csv",
    "aigciqa2023/pic-index.xlsx",
)


@pytest.fixture(scope="session")
def annotations() -> Path:
    """Folder with the real annotation files: `AGIQA_ANNOTATIONS`, else `../shared/annotations` of the repository."""
    repository = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("AGIQA_ANNOTATIONS") or repository.parent / "shared" / "annotations")
    missing = [name for name in ANNOTATION_FILES if not (folder / name).is_file()]
    if missing:
        pytest.skip(f"the published annotation files are not here: {', '.join(missing)} missing in {folder}")
    return folder
