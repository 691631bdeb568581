"""The images of a data set as PNG files, for programs that do not read the image cache."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from agiqa_bench.data.parallel import default_workers, map_in_order
from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import StoreError

COMPRESSION = 1
"""Of zlib: three times as fast as the usual 6 for files a tenth larger."""


@dataclass
class _Written:
    """The PNGs of the last data set; the folder is deleted with this, or when the process ends."""

    fingerprint: str
    rows: set[int] = field(default_factory=set)
    folder: tempfile.TemporaryDirectory[str] = field(
        default_factory=lambda: tempfile.TemporaryDirectory(prefix="agiqa-images-")
    )


_written: _Written | None = None


def png_files(samples: Samples, progress: Callable[[int, int, str], None]) -> list[Path]:
    """PNG files with the decoded pixels of samples, each written once for all methods and repeats of this process.

    They are read-only, and lie in the folder for temporary files (TMPDIR) until the process ends, or asks for those of
    another data set.

    Args:
        samples: Whose images to write.
        progress: Called with (done, total, what) while files are written.

    Returns:
        Absolute paths, length n.

    Raises:
        StoreError: A file cannot be written.
        BadImageError: An image cannot be decoded.
    """
    global _written
    images = samples.images
    if _written is None or _written.fingerprint != images.fingerprint:
        if _written is not None:
            _written.folder.cleanup()
        _written = _Written(images.fingerprint)
    folder, rows = Path(_written.folder.name), samples.rows.tolist()
    missing = [position for position, row in enumerate(rows) if row not in _written.rows]

    def write(position: int) -> None:
        from PIL import Image

        path = folder / f"{rows[position]}.png"
        try:
            Image.fromarray(images[position]).save(path, compress_level=COMPRESSION)
            path.chmod(0o444)  # the next method is to be given the same pixels
        except OSError as error:
            raise StoreError(
                f"cannot write {path} for an external method: {error.strerror or error}; set TMPDIR to a folder with "
                "room for the images as PNG"
            ) from error

    for done, (position, _) in enumerate(map_in_order(write, missing, default_workers()), start=1):
        _written.rows.add(rows[position])
        progress(done, len(missing), "writing PNGs")
    return [folder / f"{row}.png" for row in rows]
