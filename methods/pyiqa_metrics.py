"""The no-reference metrics of pyiqa (IQA-PyTorch) as methods: `pyiqa:musiq`, `pyiqa:piqe` and all others by name."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NoReturn

import numpy as np
import numpy.typing as npt
from pydantic import Field

from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import BadImageError, WeightsUnavailableError
from agiqa_bench.families import SEPARATOR, Family
from agiqa_bench.method import Context, Method, MethodConfig, Weights
from agiqa_bench.methods import pyiqa_loading as loading
from agiqa_bench.methods.pyiqa_files import FILES, contents, fetch, locate

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
    def weights(cls, config: MethodConfig, context: Context) -> tuple[Weights, ...]:
        """One entry per file that the metric loads, fetched if they may be."""
        from agiqa_bench.backbones.checkpoint import file_digest
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
                for part in contents(path):
                    loading.check_no_code(part)
            found.append(Weights(f"{file.label} (pyiqa)", file_digest(*contents(path))))
        return tuple(found)

    def prepare(self) -> None:
        """Build the metric."""
        self._built()

    def predict(self, samples: Samples) -> npt.NDArray[np.float64]:
        """The score of pyiqa with the sign that makes higher better, float64 (n,).

        Raises:
            BadImageError: An image is too small for the metric, or the metric is not defined for it.
        """
        from agiqa_bench.data.image_cache import require_minimum_size

        metric = self._built()
        sign = -1.0 if metric.lower_better else 1.0
        images, names = samples.images, samples.names
        require_minimum_size(images, names, smallest(self.metric), self.name)
        scores = np.empty(len(images))
        for rows in self._batches(images.sizes):
            prompts = [samples.prompts[row] for row in rows] if self.uses_prompt else None
            scores[rows] = sign * self._score(metric, [images[row] for row in rows], prompts, names[rows[0]])
            self.context.progress(int(rows[-1]) + 1, len(images), self.name)
        return scores

    def _built(self) -> Any:
        return loading.build(self.metric, self.context.device, trust=self.config.trust)

    def _batches(self, sizes: npt.NDArray[np.int64]) -> Iterator[list[int]]:
        """Rows that follow each other and have one size, at most as many as the user asks for at a time."""
        limit = 1 if _takes_one(self.metric) else self.context.batch_size or 1
        batch: list[int] = []
        for row in range(len(sizes)):
            if batch and (len(batch) == limit or (sizes[row] != sizes[batch[0]]).any()):
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch

    def _score(
        self, metric: Any, images: Sequence[npt.NDArray[np.uint8]], prompts: list[str] | None, name: str
    ) -> npt.NDArray[np.float64]:
        """What pyiqa gives for images of one size, float64 (n,); `name` is that of the first."""
        import torch

        from agiqa_bench.methods.niqe import unit_tensor

        pixels = torch.cat([unit_tensor(image) for image in images])
        options = {} if prompts is None else {"caption_list": prompts}
        # A metric that drew would otherwise give an image another score after other images.
        random.seed(SEED)
        np.random.seed(SEED)
        torch.manual_seed(SEED)
        try:
            with torch.inference_mode():
                found = metric(pixels.to(self.context.device), **options)
        except torch.OutOfMemoryError:
            raise
        except (AssertionError, IndexError, RuntimeError, ValueError) as error:
            self._refuse(images[0], name, " ".join(str(error).split()) or type(error).__name__, error)
        values: npt.NDArray[np.float64] = torch.as_tensor(found).double().reshape(-1).cpu().numpy()
        if len(values) != len(images) or not np.isfinite(values).all():
            self._refuse(images[0], name, f"it gives {' '.join(map(str, values[:3]))}")
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


def _takes_one(metric: str) -> bool:
    return _type(metric) in _ONE_AT_A_TIME or "-face" in metric
