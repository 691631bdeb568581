from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import DataNotFoundError, HiddenMOSError


@pytest.fixture
def samples() -> Samples:
    table = pd.DataFrame(
        {
            "image": ["a.png", "b.png", "c.png"],
            "prompt": ["x", "y", "x"],
            "group": ["1", "2", "1"],
            "generator": ["g", "h", "h"],
            "mos_quality": [1.0, 2.0, 3.0],
            "mos_alignment": [30.0, 20.0, 10.0],
        }
    )
    return Samples(table, ["quality"])


def test_a_target_that_is_not_predicted_can_be_learnt_from(samples: Samples) -> None:
    part = samples.subset([2, 0])
    np.testing.assert_array_equal(part.mos, [[3.0], [1.0]])
    np.testing.assert_array_equal(part.mos_of("quality"), [3.0, 1.0])
    np.testing.assert_array_equal(part.mos_of("alignment"), [10.0, 30.0])
    assert part.mos_of("alignment").dtype == np.float64
    with pytest.raises(KeyError, match="mos_authenticity"):
        part.mos_of("authenticity")


def test_no_rating_of_samples_to_predict_can_be_read(samples: Samples) -> None:
    for hidden in (samples.hidden(), samples.hidden().subset([1]), samples.subset([1]).hidden()):
        with pytest.raises(HiddenMOSError, match="fit on training samples only"):
            _ = hidden.mos
        for target in ("quality", "alignment", "authenticity"):
            with pytest.raises(HiddenMOSError, match="fit on training samples only"):
                hidden.mos_of(target)


def test_a_view_of_a_view_counts_within_it(samples: Samples) -> None:
    part = samples.subset([2, 1]).subset([1])
    assert part.rows.tolist() == [1]
    assert (part.names, part.prompts, part.groups, part.generators) == (["b.png"], ["y"], ["2"], ["h"])


def test_annotations_alone_have_no_images(samples: Samples) -> None:
    with pytest.raises(DataNotFoundError, match="without --annotations-only"):
        _ = samples.images
