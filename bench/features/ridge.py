"""Ridge regression whose penalty is chosen by leaving out one group of samples after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ridge:
    """Linear functions of centred features for several labels, each with a penalty of its own.

    Attributes:
        weights: float64 (d, n_labels).
        penalties: The chosen one per label, float64 (n_labels,).
        errors: Mean squared error on left-out groups by penalty and label, float64 (n_penalties, n_labels).
    """

    weights: Floats
    penalties: Floats
    errors: Floats

    @classmethod
    def fit(cls, features: Floats, labels: Floats, groups: npt.NDArray[np.int64], penalties: Sequence[float]) -> Self:
        """Fit by the smallest squared error on left-out groups, of equals the largest penalty.

        What a group's samples would be predicted if the fit had not seen them follows exactly from the fit that has:
        e_G = (I - H_GG)^-1 r_G, with the residuals r and the matrix H that takes labels to fitted labels (for one
        sample at a time Allen's PRESS, 1974). So one decomposition serves all groups, penalties and labels. Only the
        scaling of features and labels, which is the caller's, has seen the group.

        Args:
            features: Each with mean 0, (n, d).
            labels: Each with mean 0, (n, n_labels).
            groups: Number of each sample's group, (n,); if there is but one, each sample is a group.
            penalties: Of the squared norm of the weights, above 0.
        """
        n = len(features)
        if len(np.unique(groups)) == 1:
            groups = np.arange(n)
        basis, values, directions = _decomposed(features)
        projected = basis.T @ labels
        members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
        errors = np.empty((len(penalties), labels.shape[1]))
        for row, penalty in enumerate(penalties):
            shrunk = basis * (values**2 / (values**2 + penalty))
            residuals = labels - shrunk @ projected
            left_out = [_left_out(shrunk[of], basis[of], residuals[of], n) for of in members]
            errors[row] = np.mean(np.concatenate(left_out) ** 2, axis=0)
        largest_first = np.argsort(penalties)[::-1]
        chosen = np.asarray(penalties)[largest_first[errors[largest_first].argmin(axis=0)]]
        weights = directions @ (values[:, None] / (values[:, None] ** 2 + chosen) * projected)
        return cls(np.ascontiguousarray(weights), chosen, errors)

    def __call__(self, features: Floats) -> Floats:
        """Predicted labels of centred features (n, d), float64 (n, n_labels)."""
        return features @ self.weights


def _decomposed(features: Floats) -> tuple[Floats, Floats, Floats]:
    """Left singular vectors (n, r), singular values (r,) and right singular vectors (d, r) that matter.

    By the eigenvectors of the smaller product of the features with themselves, in half the time of a decomposition of
    the features. What that loses of the small singular values is far below any sensible penalty.
    """
    tall = features.shape[0] >= features.shape[1]
    squares, vectors = np.linalg.eigh(features.T @ features if tall else features @ features.T)
    kept = squares > max(features.shape) * np.finfo(np.float64).eps * squares[-1]
    values, vectors = np.sqrt(squares[kept]), vectors[:, kept]
    others = (features if tall else features.T) @ vectors / values
    return (others, values, vectors) if tall else (vectors, values, others)


def _left_out(shrunk: Floats, basis: Floats, residuals: Floats, n: int) -> Floats:
    """Residuals of one group's samples if the fit, mean included, had not seen them."""
    hat = shrunk @ basis.T + 1 / n
    return np.asarray(np.linalg.solve(np.eye(len(hat)) - hat, residuals), dtype=np.float64)
