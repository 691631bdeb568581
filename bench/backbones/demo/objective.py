"""The training objective: InfoNCE in which a text is right for every picture of the batch that it is true of."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def contrastive_loss(
    images: torch.Tensor, texts: torch.Tensor, true: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """Symmetric cross-entropy with several right answers (Yang et al. 2022, "UniCL", equations 2 to 4).

    Args:
        images: Unit vectors of pictures, (n, width).
        texts: Unit vectors of different texts, (m, width).
        true: Which text is true of which picture, bool (n, m); at least one in each row and column.
        scale: Inverse temperature, a scalar.

    Returns:
        Scalar: mean of the cross-entropies picture to text and text to picture; the targets are uniform over the right
        answers. With one right answer each it is the loss of CLIP.
    """
    logits = scale * images @ texts.T
    right = true.to(logits.dtype)
    to_text = -(right / right.sum(dim=1, keepdim=True) * F.log_softmax(logits, dim=1)).sum(dim=1).mean()
    to_image = -(right / right.sum(dim=0) * F.log_softmax(logits, dim=0)).sum(dim=0).mean()
    return 0.5 * (to_text + to_image)
