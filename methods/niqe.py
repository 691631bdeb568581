"""NIQE (Mittal, Soundararajan and Bovik 2013): how far an image's statistics are from those of pristine photographs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import Field

from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import BadImageError, ConfigError, DownloadError, WeightsUnavailableError
from agiqa_bench.method import Context, Method, MethodConfig, Weights

if TYPE_CHECKING:
    import torch

    from agiqa_bench.methods.niqe_pristine import PristineModel

BLOCK = 96
"""Side of a block in pixels; the smallest image that NIQE can score."""

_STRIP = 32
"""Rows that are normalised at a time."""

_REACH = 3
"""Rows above and below that the window of 7 x 7 sees."""

_PYIQA_FILE = "niqe_modelparameters.mat"
_PYIQA_REPOSITORY = "chaofengc/IQA-PyTorch-Weights"


class NIQE(Method):
    """Minus NIQE, by pyiqa's implementation (luma of YIQ, blocks of 96 x 96 at two scales, equation 10 of the paper).

    Computed in float64 on the CPU whatever the device, one image a thread: 36 features that are read off a table by
    nearest entry should not depend on the machine.
    """

    name = "niqe"
    title = "NIQE"
    summary = "distance of natural scene statistics to those of pristine photographs, no training"
    targets = ("quality",)
    trainable = False
    num_gpus = 0
    groups = ("handcrafted",)
    citation = """@article{mittal2013niqe,
  title = {Making a ``Completely Blind'' Image Quality Analyzer},
  author = {Mittal, Anish and Soundararajan, Rajiv and Bovik, Alan C.},
  journal = {IEEE Signal Processing Letters},
  volume = {20},
  number = {3},
  pages = {209--212},
  year = {2013}
}"""
    presets = {"quick": {"pristine": "refit", "min_side": 288}}  # noqa: RUF012 - literal class data

    class Config(MethodConfig):
        """What to measure against, and from which size on.

        One block of 96 x 96, all that an image of 128 x 128 has, leaves the covariance of its features undetermined
        (pyiqa then takes 0), so the demo's preset enlarges.
        """

        pristine: str = Field(
            default="pyiqa",
            description="pyiqa (the published parameters, downloaded on first use), refit (this project's stand-in, "
            "always at hand), or a .mat, .npz or .safetensors file",
        )
        min_side: int = Field(
            default=0,
            ge=0,
            description="enlarge images whose shorter side is below this many pixels to it (bicubic); 0, as in the "
            "paper: never",
        )

    @classmethod
    def skip(cls, config: MethodConfig, context: Context) -> str | None:  # noqa: ARG003
        """Without pyiqa, which computes the features, there is no NIQE."""
        from agiqa_bench.methods.pyiqa_loading import missing

        return missing()

    @classmethod
    def note(cls, config: MethodConfig, context: Context) -> str:  # noqa: ARG003
        """The licence of pyiqa, which computes the features."""
        from agiqa_bench.methods.pyiqa_loading import LICENCE_NOTE

        return LICENCE_NOTE

    @classmethod
    def weights(cls, config: MethodConfig, context: Context) -> tuple[Weights, ...]:
        """The pristine model that `config` names, fetched if it may be.

        A local file whose numbers are not the published ones is a stand-in and named after the file.
        """
        assert isinstance(config, cls.Config)
        path = _pristine_file(config.pristine, context.offline)
        label = config.pristine if config.pristine in ("pyiqa", "refit") else path.name
        name, stand_in = f"NIQE pristine ({label})", "" if label == "pyiqa" else label
        if _model(path).published:
            name, stand_in = "NIQE pristine (published)", ""
        return (Weights(name, hashlib.sha256(path.read_bytes()).hexdigest(), stand_in),)

    def predict(self, samples: Samples) -> npt.NDArray[np.float64]:
        """Minus NIQE, float64 (n,), at most 0.

        Raises:
            BadImageError: An image is smaller than 96 x 96, or has no texture (one colour, a plain ramp), so that NIQE
                is undefined.
        """
        from agiqa_bench.data.image_cache import require_minimum_size
        from agiqa_bench.data.parallel import default_workers, map_in_order

        model = _model(_pristine_file(self.config.pristine, self.context.offline))
        images, names = samples.images, samples.names
        if self.config.min_side < BLOCK:
            require_minimum_size(images, names, BLOCK, self.name)

        def score(position: int) -> float:
            try:
                return -niqe(_enlarged(images[position], self.config.min_side), model)
            except ValueError as error:
                raise BadImageError(f"niqe is undefined for image {names[position]}: {error}") from error

        scores = np.empty(len(images))
        with _one_torch_thread():
            for position, value in map_in_order(score, range(len(images)), default_workers()):
                scores[position] = value
                self.context.progress(position + 1, len(images), self.name)
        return scores


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Let torch use one thread in each of the threads that are started inside.

    NIQE is many small steps: threads of torch's own would cost several times what they give. A thread takes over the
    number that was set last when it first uses torch, so it must be set before the others start and not by them:
    there it would hold for the whole process, long after.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def niqe(image: npt.NDArray[np.uint8], model: PristineModel) -> float:
    """NIQE of one image by pyiqa; lower is better, 0 at best.

    Args:
        image: uint8 (h, w, 3), at least 96 x 96.
        model: What to measure against.

    Raises:
        ValueError: NIQE is undefined, because no block of the image has enough texture for all 36 features.
    """
    import torch
    from pyiqa.archs.niqe_arch import nancov, nanmean

    height, width = (side // BLOCK * BLOCK for side in image.shape[:2])
    with torch.inference_mode():
        features = block_features(luma(image)[..., :height, :width])[None]
        difference = torch.from_numpy(model.mean) - nanmean(features, dim=1)
        covariance = (torch.from_numpy(model.covariance) + nancov(features)) / 2
        try:
            inverse = torch.linalg.pinv(covariance)
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise ValueError("no block of it has enough texture") from error
        value = float(torch.sqrt(difference[:, None] @ inverse @ difference[:, :, None]))
    if not np.isfinite(value):
        raise ValueError("no block of it has enough texture")
    return value


def luma(image: npt.NDArray[np.uint8]) -> torch.Tensor:
    """NIQE's input, by pyiqa: rounded luma (Y of YIQ) of uint8 (h, w, 3), in [0, 255], float64 (1, 1, h, w)."""
    from pyiqa.utils.color_util import to_y_channel

    from agiqa_bench.methods.pyiqa_loading import unit_tensor

    channel: torch.Tensor = to_y_channel(unit_tensor(image), 255, "yiq")
    return channel.round().double()


def block_features(image: torch.Tensor) -> torch.Tensor:
    """Features of each block of an image of whole blocks, float64 (n, 36): the two scales of pyiqa's `niqe`.

    Args:
        image: From `luma`, both sides multiples of 96.
    """
    import torch
    from pyiqa.archs.niqe_arch import compute_feature
    from pyiqa.matlab_utils import blockproc, imresize

    half = imresize(image / 255, scale=0.5, antialiasing=True) * 255
    scales = [
        blockproc(_normalised(scaled), [side, side], fun=compute_feature)
        for scaled, side in ((image, BLOCK), (half, BLOCK // 2))
    ]
    return torch.cat(scales, dim=-1)[0]


def _normalised(image: torch.Tensor) -> torch.Tensor:
    """Local normalisation of an image (1, 1, h, w) by pyiqa, a few rows at a time.

    Torch unfolds an image in float64 to 49 times its size for a window of 7 x 7: what stays in the processor's cache
    takes a third of the time, with the same digits.
    """
    import torch
    from pyiqa.archs.func_util import normalize_img_with_gauss

    rows, height = [], image.shape[-2]
    for top in range(0, height, _STRIP):
        first, last = max(0, top - _REACH), min(height, top + _STRIP + _REACH)
        strip = normalize_img_with_gauss(image[..., first:last, :], padding="replicate")
        rows.append(strip[..., top - first :, :][..., :_STRIP, :])
    return torch.cat(rows, dim=-2)


def _enlarged(image: npt.NDArray[np.uint8], min_side: int) -> npt.NDArray[np.uint8]:
    height, width = image.shape[:2]
    if min(height, width) >= min_side:
        return image
    from PIL import Image

    factor = min_side / min(height, width)
    size = (round(width * factor), round(height * factor))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def _model(path: Path) -> PristineModel:
    from agiqa_bench.methods.niqe_pristine import read_pristine

    return read_pristine(path)


def _pristine_file(pristine: str, offline: bool) -> Path:
    """The file with the parameters that a setting names.

    Raises:
        WeightsUnavailableError: They must be downloaded and cannot be.
        ConfigError: The file does not exist.
    """
    if pristine == "refit":
        from agiqa_bench.methods.niqe_pristine import REFIT_FILE

        return REFIT_FILE
    if pristine == "pyiqa":
        return _pyiqa_file(offline)
    path = Path(pristine).expanduser()
    if not path.is_file():
        raise ConfigError(f"niqe.pristine = '{pristine}': no such file; give a file, 'pyiqa' or 'refit'")
    return path


def _pyiqa_file(offline: bool) -> Path:
    """The published parameters as pyiqa provides them: its own copy, or the file that it would fetch."""
    import torch

    from agiqa_bench.backbones.fetch import download_weights, find_weights
    from agiqa_bench.offline import is_offline

    own = Path(torch.hub.get_dir()) / "pyiqa" / _PYIQA_FILE
    if own.is_file():
        return own
    source = {"hf_hub": f"{_PYIQA_REPOSITORY}/{_PYIQA_FILE}"}
    found = find_weights(source)
    if found is not None:
        return found
    missing = f"NIQE's published parameters ({_PYIQA_FILE}) are not on this machine"
    advice = f"put the file at {own}, or use --set niqe.pristine=FILE or --set niqe.pristine=refit"
    stand_in: dict[str, object] = {"pristine": "refit"}
    if is_offline(offline):
        raise WeightsUnavailableError(f"{missing}, and the run is offline: {advice}", stand_in)
    try:
        return download_weights("NIQE pristine", source)
    except DownloadError as error:
        raise WeightsUnavailableError(f"{missing}, and cannot be fetched ({error}): {advice}", stand_in) from error
