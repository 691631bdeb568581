"""Grey values as MATLAB's image functions compute them, which the feature-based methods were published with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_LUMA = np.array([0.298936021293775, 0.587043074451121, 0.114020904255103])
"""First row of the inverse of the NTSC matrix from YIQ to RGB, known to four digits as 0.2989, 0.5870, 0.1140."""


def gray(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Grey values of an image as by MATLAB's rgb2gray: 0.2989 R + 0.5870 G + 0.1140 B, rounded half up.

    Args:
        image: uint8 (h, w, 3), sRGB.

    Returns:
        uint8 (h, w), 0 to 255.
    """
    values: npt.NDArray[np.float64] = image @ _LUMA
    return np.floor(values + 0.5).astype(np.uint8)
