import math
from itertools import pairwise

import pytest

from agiqa_bench.synthetic.damage import IMAGE_DAMAGES, Damage
from agiqa_bench.synthetic.draws import Draws
from agiqa_bench.synthetic.panel import Observer, alignment_share, impression, mean_opinion, quality_share, recruit

SEVERITIES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@pytest.mark.parametrize("kind", sorted(IMAGE_DAMAGES))
def test_quality_falls_with_severity_and_so_does_the_average_mos(kind):
    shares = [quality_share([Damage(kind, severity)]) for severity in SEVERITIES]
    assert shares[0] == 1.0
    assert all(a > b for a, b in pairwise(shares))
    assert shares[-1] >= 0.0
    panel = recruit(Draws("panel"))
    means = [
        math.fsum(
            mean_opinion(panel, impression([Damage(kind, severity)], "quality"), Draws("mos", number))
            for number in range(20)
        )
        for severity in SEVERITIES
    ]
    assert all(a > b for a, b in pairwise(means))


def test_alignment_falls_with_what_is_wrong_and_little_with_pixels():
    wrong, blurred = [Damage("wrong_colour", 0.6)], [Damage("blur", 0.6)]
    assert alignment_share([]) == 1.0
    assert alignment_share(wrong) == pytest.approx(0.4)
    assert 0.75 < alignment_share(blurred) < 1.0
    assert alignment_share(wrong + blurred) < alignment_share(wrong)
    assert quality_share(wrong) == 1.0


def test_observers_without_noise_answer_by_hand():
    panel = (Observer(0.5, 1.0, 0.0), Observer(0.0, 2.0, 0.0), Observer(-4.0, 1.0, 0.0))
    # 3.5, 2.5 + 2 * 0.5 = 3.5, and -1 clipped to 0.
    assert mean_opinion(panel, 3.0, Draws("x")) == pytest.approx(7.0 / 3.0, abs=5e-5)


def test_mos_stay_on_the_scale():
    panel = recruit(Draws("panel"))
    assert len(panel) == 20
    for number, value in enumerate((-3.0, 0.4, 4.6, 9.0)):
        assert 0.0 <= mean_opinion(panel, value, Draws("scale", number)) <= 5.0
