from __future__ import annotations

from pathlib import Path

import pytest

from agiqa_bench.data.describe import HISTOGRAM_BINS, describe
from agiqa_bench.datasets.agiqa3k import AGIQA3K
from agiqa_bench.datasets.table import TableDataset


def test_table_is_summed_up(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "image,prompt,generator,mos\na.png,p,x,1\nb.png,p,y,2\nc.png,q,x,2\na.png,q,x,5\n", encoding="utf-8"
    )
    about = describe(TableDataset(tmp_path / "t.csv", annotations_only=True))
    assert (about.rows, about.images, about.missing, about.groups) == (4, 3, 3, 2)
    assert about.group_sizes == {2: 2}
    assert about.generators == {"x": 3, "y": 1}
    (summary,) = about.targets
    assert (summary.minimum, summary.mean, summary.maximum) == (1.0, 2.5, 5.0)
    assert summary.std == pytest.approx(3.0**0.5)
    assert sum(summary.histogram) == 4
    assert (summary.histogram[0], summary.histogram[5], summary.histogram[-1]) == (1, 2, 1)


def test_one_constant_row_is_no_special_case(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,prompt,mos\na.png,p,3\n", encoding="utf-8")
    (summary,) = describe(TableDataset(tmp_path / "t.csv", annotations_only=True)).targets
    assert (summary.minimum, summary.maximum, summary.std) == (3.0, 3.0, 0.0)
    assert sum(summary.histogram) == 1
    assert len(summary.histogram) == HISTOGRAM_BINS


def test_annotations_alone_suffice(annotations: Path) -> None:
    about = describe(AGIQA3K(annotations))
    assert (about.rows, about.images, about.missing, about.groups) == (2982, 2982, 2982, 300)
    assert about.group_sizes == {7: 1, 8: 3, 9: 9, 10: 287}
    assert len(about.generators) == 10
    assert [summary.target.name for summary in about.targets] == ["quality", "alignment"]
    assert {fault.code for fault in about.faults} == {"uneven-generators", "missing-images"}
    assert "AGIQA-3K: An Open Database" in about.citation.replace("{", "").replace("}", "")
