"""Images of a data set inside a page: small, and as data: URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from pathlib import Path

from agiqa_bench.errors import BadImageError
from agiqa_bench.reporting.html.view import PictureView
from agiqa_bench.reporting.model import Picture

QUALITY = 80
"""Of WebP, 0 to 100; an embedded image takes some 10 kB."""


def picture_views(pictures: Iterable[Picture]) -> tuple[PictureView, ...]:
    """Read, shrink and embed images; one that cannot be read says so in its place."""
    return tuple(_view(picture) for picture in pictures)


def _view(picture: Picture) -> PictureView:
    if not picture.path:
        return PictureView(picture, missing="where the file lies is not known")
    try:
        return PictureView(picture, source=data_uri(Path(picture.path)))
    except BadImageError:
        return PictureView(picture, missing="the file is not there any more, or cannot be read")


def data_uri(file: Path) -> str:
    """An image as a data: URI of a WebP as large as `thumbnail` makes it.

    Raises:
        BadImageError: It cannot be decoded.
    """
    from PIL import Image

    from agiqa_bench.figures.gallery import thumbnail

    buffer = io.BytesIO()
    Image.fromarray(thumbnail(file)).save(buffer, "WEBP", quality=QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
