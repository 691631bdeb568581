"""The no-reference metrics of pyiqa (IQA-PyTorch) as methods: `pyiqa:musiq`, `pyiqa:piqe` and all others by name."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np
import numpy.typing as npt
from pydantic import Field

from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import BadImageError, WeightsUnavailableError
from agiqa_bench.families import SEPARATOR, Family
from agiqa_bench.method import Context, Method, MethodConfig, Weights
from agiqa_bench.methods import pyiqa_loading as loading
from agiqa_bench.methods.pyiqa_files import FILES, contents, fetch, locate

if TYPE_CHECKING:
    import torch

SEED = 123
"""Of the generators before each image; pyiqa's metrics draw nothing while they score, as far as one can see."""

_OF_SETS = {"FID", "InceptionScore"}
"""Types that judge a set of images as a whole, although pyiqa counts them among those without a reference."""

_WITH_PROMPT = {"CLIPScore"}

_AESTHETICS = {"laion_aes", "musiq-ava", "nima", "nima-vgg16-ava", "topiq_iaa", "topiq_iaa_res50"}

_ONE_AT_A_TIME = {"AFINE", "Compare2Score", "MACLIP", "QAlign"}
"""Types that take a single image, or give one score for a batch; those for faces do as well."""

_MODULES = {
    "bitsandbytes": {"qalign_4bit", "qalign_8bit"},
    "icecream": {"qalign", "qalign_4bit", "qalign_8bit"},
}
"""Packages that pyiqa does not bring along, though some of its metrics import them."""

_SMALLEST = {"LIQE": 224, "NIQE": 96, "WaDIQaM": 33}
"""Smallest height and width by type, where pyiqa has one; it enlarges smaller crops itself in other metrics."""


class PyiqaMetric(Method):
    """A no-reference metric of pyiqa, with the weights that pyiqa ships for it: no training.

    The score is pyiqa's, turned round where lower is better; which way, and the range, is what pyiqa says. Images go in
    as they are: a metric that cannot score one of that size fails in a line that names it. Computed in float32.

    pyiqa is under the PolyForm Noncommercial licence: what is computed with it is for noncommercial purposes only.
    """

    metric: ClassVar[str]
    groups = ("pyiqa",)
    trainable = False
    citation = """@misc{pyiqa,
  title = {{IQA-PyTorch}: PyTorch Toolbox for Image Quality Assessment},
  author = {Chen, Chaofeng and Mo, Jiadi},
  year = {2022},
  note = {Available: github.com/chaofengc/IQA-PyTorch}
}"""

    class Config(MethodConfig):
        """How far to trust the files."""

        trust: bool = Field(
            default=False,
            description="load weight files that hold pickled Python objects, and run whatever code is in them; only "
            "for files whose source you trust",
        )

    @classmethod
    def skip(cls, config: MethodConfig, context: Context) -> str | None:  # noqa: ARG003
        """What pyiqa, or this metric of it, lacks here."""
        if loading.missing():
            return loading.missing()
        lacking = [name for name, users in _MODULES.items() if cls.metric in users and loading.module_missing(name)]
        if lacking:
            return f"pyiqa's {cls.metric} needs {' and '.join(lacking)}: pip install {' '.join(lacking)}"
        if cls.metric == "maclip" and not context.device.startswith("cuda"):
            return "pyiqa's maclip runs on a CUDA device only"
        return None

    @classmethod
    def note(cls, config: MethodConfig, context: Context) -> str:  # noqa: ARG003
        """The licence of pyiqa, and that the metrics do not follow `precision`."""
        return loading.LICENCE_NOTE + ("" if context.precision == "float32" else "; computed in float32")

    @classmethod
    def weights(cls, config: MethodConfig, context: Context) -> tuple[Weights, ...]:
        """One entry per file that the metric loads, fetched if they may be."""
        from agiqa_bench.backbones.checkpoint import check_no_code, file_digest
        from agiqa_bench.offline import is_offline

        assert isinstance(config, cls.Config)
        if cls.metric not in FILES:
            raise WeightsUnavailableError(
                f"which files pyiqa's {cls.metric} computes with is not known to this version of agiqa-bench"
            )
        found: list[Weights] = []
        for file in FILES[cls.metric]:
            path = fetch(cls.metric, file, offline=is_offline(context.offline))
            if not config.trust:
                loading.check_no_programs(path)
                for part in contents(path):
                    check_no_code(part)
            found.append(Weights(f"{file.label} (pyiqa)", file_digest(*contents(path))))
        return tuple(found)

    def prepare(self) -> None:
        """Build the metric."""
        _ = self._built

    def predict(self, samples: Samples) -> npt.NDArray[np.float64]:
        """The score of pyiqa with the sign that makes higher better, float64 (n,).

        Raises:
            BadImageError: An image is too small for the metric, or the metric is not defined for it.
            TrainingError: There is no memory for a single image.
        """
        from agiqa_bench.data.image_cache import require_minimum_size
        from agiqa_bench.training.memory import in_batches

        metric = self._built
        images, names = samples.images, samples.names
        require_minimum_size(images, names, smallest(self.metric), self.name)

        def score(rows: npt.NDArray[np.int64]) -> torch.Tensor:
            prompts = [samples.prompts[row] for row in rows] if self.uses_prompt else None
            return self._score(metric, [images[int(row)] for row in rows], prompts, names[rows[0]])

        size = 1 if _takes_one(self.metric) else self.context.batch_size or 1

        def run(start: int, end: int) -> npt.NDArray[np.float64]:
            def progress(done: int, _: int, what: str) -> None:
                self.context.progress(start + done, len(images), what)

            def compute(positions: npt.NDArray[np.int64]) -> torch.Tensor:
                return score(start + positions)

            found = in_batches(compute, end - start, size, self.context.device, progress, self.name)
            return found.double().numpy()

        scores = np.concatenate([np.empty(0), *(run(*ends) for ends in _of_one_size(images.sizes))])
        return -scores if metric.lower_better else scores

    @cached_property
    def _built(self) -> Any:
        return loading.build(self.metric, self.context.device, trust=self.config.trust)

    def _score(
        self, metric: Any, images: Sequence[npt.NDArray[np.uint8]], prompts: list[str] | None, name: str
    ) -> torch.Tensor:
        """What pyiqa gives for images of one size, (n,); `name` is that of the first."""
        import torch

        from agiqa_bench.training.memory import is_out_of_memory

        pixels = torch.cat([loading.unit_tensor(image) for image in images])
        options = {} if prompts is None else {"caption_list": prompts}
        # A metric that drew would otherwise give an image another score after other images.
        random.seed(SEED)
        np.random.seed(SEED)
        torch.manual_seed(SEED)
        try:
            found = metric(pixels.to(self.context.device), **options)
        except (AssertionError, IndexError, RuntimeError, ValueError) as error:
            if is_out_of_memory(error):
                raise
            self._refuse(images[0], name, " ".join(str(error).split()) or type(error).__name__, error)
        values = torch.as_tensor(found).reshape(-1).cpu()
        if len(values) != len(images) or not bool(values.isfinite().all()):
            self._refuse(images[0], name, f"it gives {' '.join(map(str, values[:3].tolist()))}")
        return values

    def _refuse(
        self, image: npt.NDArray[np.uint8], name: str, why: str, cause: BaseException | None = None
    ) -> NoReturn:
        height, width = image.shape[:2]
        raise BadImageError(f"{self.name} cannot score image {name} ({width} x {height}): {why[:200]}") from cause


class PyiqaFamily(Family):
    """`pyiqa:<name>` for every no-reference metric of pyiqa that judges single images."""

    name = "pyiqa"
    title = "pyiqa"
    summary = "any no-reference metric of pyiqa, no training (licence: PolyForm Noncommercial)"

    def members(self) -> Sequence[str]:
        """The metrics of the pyiqa that is installed; without it those of version 0.1.16, all of which are skipped."""
        facts = loading.metric_facts()
        if not facts:
            return sorted(FILES)
        return sorted(
            name for name, each in facts.items() if each["metric_mode"] == "NR" and _type(name) not in _OF_SETS
        )

    def load(self, member: str) -> type[PyiqaMetric]:
        """A subclass of `PyiqaMetric` for one metric."""
        prompt = _type(member) in _WITH_PROMPT or member == "clipscore"
        what = "aesthetics" if member in _AESTHETICS else "image and prompt" if prompt else "quality"
        body = {
            "__module__": __name__,
            "__doc__": PyiqaMetric.__doc__,
            "metric": member,
            "name": f"{self.name}{SEPARATOR}{member}",
            "title": f"pyiqa {member}",
            "summary": f"{what} by pyiqa's {member}, no training",
            "targets": ("alignment",) if prompt else ("quality",),
            "uses_prompt": prompt,
        }
        return type(f"Pyiqa_{member}", (PyiqaMetric,), body)

    def describe(self, member: str) -> Mapping[str, str]:
        """Direction, range, smallest image, and whether the weights are on this machine."""
        facts = loading.metric_facts().get(member, {})
        lacking = [file for file in FILES.get(member, ()) if locate(file) is None]
        here = f"missing: {', '.join(file.label for file in lacking)}" if lacking else "here"
        if member not in FILES:
            here = "not known to this version"
        elif not FILES[member]:
            here = "none needed"
        pixels = smallest(member)
        return {
            "Better": ("lower" if facts.get("lower_better") else "higher") if facts else "",
            "Range": str(facts.get("score_range", "")),
            "Smallest image": f"{pixels} x {pixels}" if pixels > 1 else "",
            "Weights": here,
        }


family = PyiqaFamily


def smallest(metric: str) -> int:
    """Smallest height and width in pixels that a metric scores, as far as it is known; 1 if nothing is."""
    return _SMALLEST.get(_type(metric), 1)


def _type(metric: str) -> str:
    """The class in pyiqa of a metric; empty if pyiqa is not here."""
    return str(loading.metric_facts().get(metric, {}).get("metric_opts", {}).get("type", ""))


def _of_one_size(sizes: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Begin and end of each run of rows that follow each other and have one size, of sizes (n, 2)."""
    changes = np.flatnonzero((sizes[1:] != sizes[:-1]).any(axis=1)) + 1
    bounds = [0, *changes.tolist(), len(sizes)]
    yield from ((start, end) for start, end in pairwise(bounds) if start < end)


def _takes_one(metric: str) -> bool:
    return _type(metric) in _ONE_AT_A_TIME or "-face" in metric


def _behind_pyiqa() -> None:
    """Name the libraries that pyiqa's metrics compute with; never called.

    pyiqa imports them itself, each metric its own. But a cell's key covers the versions of the libraries that the code
    of this package imports, so they are imported here.
    """
    import bitsandbytes  # type: ignore[import-not-found, import-untyped, unused-ignore]  # noqa: F401
    import clip  # type: ignore[import-not-found, import-untyped, unused-ignore]  # noqa: F401
    import cv2  # type: ignore[import-not-found, import-untyped, unused-ignore]  # noqa: F401
    import facexlib  # type: ignore[import-not-found, import-untyped, unused-ignore]  # noqa: F401
    import timm  # type: ignore[import-not-found, import-untyped, unused-ignore]  # noqa: F401
    import torchvision  # noqa: F401
    import transformers  # noqa: F401
