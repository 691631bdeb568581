from __future__ import annotations

import numpy as np

from agiqa_bench.features.colour import gray


def test_known_colours() -> None:
    colours = [(255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0), (1, 1, 1), (10, 20, 30)]
    # 255 * 0.2989 = 76.2, 255 * 0.5870 = 149.7, 255 * 0.1140 = 29.1; 2.989 + 11.740 + 3.420 = 18.15.
    found = gray(np.array([colours], dtype=np.uint8))
    assert found.dtype == np.uint8
    assert found.tolist() == [[255, 76, 150, 29, 0, 1, 18]]


def test_a_gray_image_stays_as_it_is() -> None:
    levels = np.arange(256, dtype=np.uint8)
    image = np.repeat(levels.reshape(16, 16, 1), 3, axis=2)
    np.testing.assert_array_equal(gray(image), levels.reshape(16, 16))


def test_the_weights_are_those_of_the_yiq_transform() -> None:
    from agiqa_bench.features.colour import _LUMA

    to_rgb = np.array([[1.0, 0.956, 0.621], [1.0, -0.272, -0.647], [1.0, -1.106, 1.703]])
    np.testing.assert_allclose(_LUMA, np.linalg.inv(to_rgb)[0], atol=1e-12)
