"""What methods share that compute with one frozen CLIP, named by their setting `backbone`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agiqa_bench.backbones.spec import resolve
from agiqa_bench.method import Context, Method, MethodConfig, Weights
from agiqa_bench.parameters import ParameterCounts, count_parameters, held_networks

if TYPE_CHECKING:
    from agiqa_bench.backbones.clip import ClipBackbone


class ClipConfig(MethodConfig):
    """Settings of a method with a CLIP; each method has its own default."""

    backbone: str


class ClipMethod(Method):
    """A method whose `Config` has the setting `backbone`."""

    @classmethod
    def weights(cls, config: MethodConfig, context: Context) -> tuple[Weights, ...]:
        """The CLIP that `config` names, fetched if it may be."""
        assert isinstance(config, ClipConfig)
        backbone = resolve(config.backbone, context.offline)
        return (Weights(backbone.name, backbone.digest, backbone.stand_in),)

    def prepare(self) -> None:
        """Load the CLIP."""
        self.clip()

    def parameter_counts(self) -> ParameterCounts | None:
        """Those of the whole CLIP, which is frozen, and of what the method holds itself."""
        return count_parameters([self.clip().model, *held_networks(self)], trained=self.trainable)

    def clip(self) -> ClipBackbone:
        """The CLIP on the method's device; the last two are kept, shared, and must not be changed."""
        from agiqa_bench.backbones.clip import load

        context = self.context
        return load(resolve(self.config.backbone, context.offline), context.device, context.precision)
