"""Samples: the view on a data set's rows that methods are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from agiqa_bench.errors import HiddenMOSError

if TYPE_CHECKING:
    import pandas as pd

    from agiqa_bench.data.image_cache import ImageCache, Images


class Samples:
    """Rows of a data set: prompts, images, generators, groups and, while fitting, MOS.

    A view is cheap: it holds row numbers, and images are decoded when they are asked for.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        targets: Sequence[str],
        images: ImageCache | None = None,
        rows: npt.NDArray[np.int64] | None = None,
        *,
        mos_hidden: bool = False,
    ) -> None:
        """Build a view.

        Args:
            table: The data set's `samples`.
            targets: Names of the targets, the columns of `mos`.
            images: Decoded images of all rows of `table`, or None where only annotations are at hand.
            rows: Row numbers of the view, int64 (n,); None means all.
            mos_hidden: If True, reading `mos` raises.
        """
        self._table = table
        self._images = images
        self.targets = tuple(targets)
        self.rows = np.arange(len(table), dtype=np.int64) if rows is None else np.asarray(rows, dtype=np.int64)
        self._mos_hidden = mos_hidden

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        shown = "hidden" if self._mos_hidden else "shown"
        return f"Samples({len(self)} rows, targets={list(self.targets)}, mos={shown})"

    def _column(self, name: str) -> list[str]:
        return [str(value) for value in self._table[name].to_numpy()[self.rows]]

    @property
    def prompts(self) -> list[str]:
        """Prompt of each row, length n."""
        return self._column("prompt")

    @property
    def names(self) -> list[str]:
        """Image file name of each row as published, length n; not always unique (AGIQA-1K repeats one)."""
        return self._column("image")

    @property
    def groups(self) -> list[str]:
        """Group of each row, length n: no group is in training and test at once under the grouped split."""
        return self._column("group")

    @property
    def generators(self) -> list[str]:
        """Generator configuration of each row, length n."""
        return self._column("generator")

    @property
    def mos(self) -> npt.NDArray[np.float64]:
        """MOS, float64 (n, n_targets), on the data set's own scale.

        Raises:
            HiddenMOSError: These are samples to predict.
        """
        if self._mos_hidden:
            raise HiddenMOSError("the MOS of samples to predict cannot be read: fit on training samples only")
        columns = [self._table[f"mos_{target}"].to_numpy(dtype=np.float64)[self.rows] for target in self.targets]
        return np.stack(columns, axis=1) if columns else np.empty((len(self), 0))

    def mos_of(self, target: str) -> npt.NDArray[np.float64]:
        """MOS of one target that the data set rates, whether or not it is to be predicted; float64 (n,).

        For methods with an auxiliary task. `Context.mos_ranges` names what is rated.

        Raises:
            HiddenMOSError: These are samples to predict.
            KeyError: The data set does not rate it.
        """
        if self._mos_hidden:
            raise HiddenMOSError("the MOS of samples to predict cannot be read: fit on training samples only")
        return self._table[f"mos_{target}"].to_numpy(dtype=np.float64)[self.rows]

    @property
    def images(self) -> Images:
        """The rows' images, decoded once for all and memory-mapped; see `agiqa_bench.data.image_cache.Images`.

        Raises:
            DataNotFoundError: Only the annotations are at hand.
            BadImageError: An image cannot be decoded.
        """
        from agiqa_bench.errors import DataNotFoundError

        if self._images is None:
            raise DataNotFoundError("these samples have annotations only: run without --annotations-only")
        return self._images.view(self.rows)

    def subset(self, positions: npt.ArrayLike) -> Samples:
        """The samples at `positions` (int, within this view), in that order."""
        rows = self.rows[np.asarray(positions, dtype=np.int64)]
        return Samples(self._table, self.targets, self._images, rows, mos_hidden=self._mos_hidden)

    def hidden(self) -> Samples:
        """The same rows with their MOS out of reach."""
        return Samples(self._table, self.targets, self._images, self.rows, mos_hidden=True)
