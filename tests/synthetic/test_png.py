import io

import numpy as np
import pytest
from PIL import Image

from agiqa_bench.synthetic.png import encode_png


# The last is longer than one stored block of a deflate stream.
@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 5, 3), (160, 150, 3)])
def test_pillow_reads_the_same_pixels(shape):
    image = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    with Image.open(io.BytesIO(encode_png(image))) as opened:
        assert opened.format == "PNG"
        assert opened.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(opened), image)
