"""DB-CNN's network (Zhang et al. 2020): the products of two networks' feature maps, and a linear head."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from agiqa_bench.backbones.convnet import ConvNet
from agiqa_bench.training import views
from agiqa_bench.training.views import IMAGENET_MEAN, IMAGENET_STD


class BilinearCNN(nn.Module):
    """Both networks, the products of their feature maps, and a linear head (section III-C)."""

    def __init__(self, convnet: ConvNet, scnn: nn.Sequential, channels: int) -> None:
        """Draw the head's weights by He et al. (2015), as the published code does.

        Args:
            convnet: Its last but one stage is used; for VGG16 the map before its last pooling, 512 channels.
            scnn: The S-CNN's convolutions.
            channels: Of the S-CNN's map.
        """
        super().__init__()
        self.convnet, self.scnn = convnet, scnn
        self.head = Head(convnet.channels[-2] * channels, 1)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Bilinear features, float32 (n, channels * channels), of images of one size, uint8 (n, 3, h, w)."""
        shown = self.convnet.stages(views.normalized(images, self.convnet.mean, self.convnet.std))[-2]
        distorted = self.scnn(views.normalized(images, IMAGENET_MEAN, IMAGENET_STD))
        with torch.autocast(images.device.type, enabled=False):
            return bilinear_pool(shown.float(), distorted.float())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Predicted MOS (n,) of images of one size, uint8 (n, 3, h, w)."""
        return self.head(self.features(images))  # type: ignore[no-any-return]


def bilinear_pool(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Mean outer product of two feature maps over all places, its square root, scaled to length 1 (equations 2 to 4).

    VGG16's maps and those of the S-CNN have no value below 0, and the paper needs no more. Those of others have (stages
    of EfficientNet, MobileNet or ConvNeXt end without a ReLU): the root of a negative mean is that of its size with its
    sign, as in the bilinear CNN of Lin et al. (2015) that DB-CNN's pooling is from.

    Args:
        first: (n, c, h, w).
        second: (n, d, h', w'); resized to (h, w), corners onto corners, if it has another size.

    Returns:
        (n, c * d); the product of channel i of the first and j of the second stands at i * d + j.
    """
    if second.shape[2:] != first.shape[2:]:
        second = F.interpolate(second, first.shape[2:], mode="bilinear", align_corners=True)
    places = first.shape[2] * first.shape[3]
    products = first.flatten(2) @ second.flatten(2).transpose(1, 2) / places
    means = products.flatten(1)
    negative = means < 0
    # Unlike abs() and clamp(), whose gradients are smaller at 0, this leaves that of a mean of 0 as it is published.
    root = torch.sqrt(torch.where(negative, -means, means) + 1e-8)
    return F.normalize(torch.where(negative, -root, root))


class Head(nn.Linear):
    """Features (n, width) to numbers (n,), in float32 whatever the precision: scores rounded to bfloat16 are tied."""

    def reset_parameters(self) -> None:
        """Draw the weights."""
        nn.init.kaiming_normal_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """One number for each row of features."""
        with torch.autocast(features.device.type, enabled=False):
            return super().forward(features.float())[:, 0]
