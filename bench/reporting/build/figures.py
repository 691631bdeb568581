"""Figures and galleries of the results under one protocol: what is drawn, and what it says in words.

Each function takes a `prefix` that goes before its key. Numbers are read when a figure is drawn wherever that takes
longer than a moment: a report in the terminal draws none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from agiqa_bench.figures.style import signed
from agiqa_bench.reporting.build.cross import crosses
from agiqa_bench.reporting.build.generators import generators
from agiqa_bench.reporting.build.summaries import (
    METRIC,
    anchor,
    counted_title,
    ordered,
    row_title,
    summary_of,
    values_of,
)
from agiqa_bench.reporting.digits import counted
from agiqa_bench.reporting.model import Figure, Gallery, Picture
from agiqa_bench.reporting.results import MethodResults, RunResults

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing

    from agiqa_bench.figures.curves import Curve, CurvesPanel
    from agiqa_bench.figures.strip import StripRow

NO_PIXEL = "baselines that see no pixel"


def strip_figure(results: RunResults, target: str, prefix: str, metric: str = "srcc") -> Figure | None:
    """A metric of every method in every repeat, with mean and interval, best first; None if no cell is finished."""
    from agiqa_bench.figures.strip import StripRow, strip

    methods = ordered(results, target, metric)
    if not methods:
        return None
    rows = []
    for method in methods:
        summary = summary_of(results, method, target, metric)
        values = tuple(values_of(results, method, target, metric))
        rows.append(
            StripRow(counted_title(results, method), values, summary.mean, summary.low, summary.high, method.diagnostic)
        )
    title = METRIC[metric].title
    return Figure(
        key=anchor(prefix, f"strip-{metric.replace('_', '-')}", target),
        title=f"{title} over the repeats: {target}",
        alt=f"{title} of {counted(len(rows), 'method')} in up to {counted(len(results.sizes), 'repeat')}: "
        + _extremes({row.name: row.mean for row in rows}, METRIC[metric].better),
        draw=partial(strip, rows, title),
        caption=_dots_and_bars(rows) + _hollow(methods),
    )


def _dots_and_bars(rows: Sequence[StripRow]) -> str:
    """What the strips show; a single repeat has neither mean nor interval."""
    if all(row.low is None for row in rows):
        return "Each dot is the one repeat that there is."
    return (
        "Each dot is one repeat; bars are the mean and its 95 % interval with the variance of Nadeau and Bengio (2003)."
    )


def scatter_figure(results: RunResults, target: str, prefix: str) -> Figure | None:
    """Scores against MOS of one repeat's test images, one panel per method, best first; None if no cell is finished.

    The repeat is the first of those that most methods have finished; a panel of another one says which.
    """
    methods = ordered(results, target, "srcc")
    if not methods:
        return None
    repeat = max(results.sizes, key=lambda repeat: (sum(repeat in method.cells for method in methods), -repeat))
    values = {
        row_title(results, method): method.cells[_nearest(method, repeat)].metrics[target]["srcc"] for method in methods
    }
    return Figure(
        key=anchor(prefix, "scatter", target),
        title=f"Scores and MOS of repeat {repeat}: {target}",
        alt=f"Score against MOS of the test images of repeat {repeat}, one panel for each of "
        f"{counted(len(methods), 'method')}, by SRCC over all repeats. In this repeat: {_extremes(values, 'higher')}",
        draw=partial(_draw_scatter, results, methods, target, repeat),
        caption=f"Test images of repeat {repeat}, and correlations of this repeat alone. The line is the 4-parameter "
        "logistic fit, where it rises; PLCC (fit) is after it. Methods stand in the order of their mean SRCC over all "
        "repeats." + (f" Grey: {NO_PIXEL}." if _any_diagnostic(methods) else ""),
    )


def _draw_scatter(results: RunResults, methods: Sequence[MethodResults], target: str, repeat: int) -> Drawing:
    from agiqa_bench.evaluation.metrics import fit_logistic
    from agiqa_bench.figures.scatter import ScatterPanel, scatter

    panels = []
    for method in methods:
        own = _nearest(method, repeat)
        cell = method.cells[own]
        table = cell.predictions()
        scores, mos = (table[f"{name}_{target}"].to_numpy(dtype=np.float64) for name in ("score", "mos"))
        metrics = cell.metrics[target]
        lines = f"SRCC {_short(metrics['srcc'])}", f"PLCC (fit) {_short(metrics['plcc_fitted'])}"
        name = row_title(results, method) + (f", repeat {own}" if own != repeat else "")
        panels.append(ScatterPanel(name, scores, mos, fit_logistic(scores, mos), lines, method.diagnostic))
    return scatter(panels, f"MOS, {target}")


def _nearest(method: MethodResults, repeat: int) -> int:
    """The repeat itself, or the first that the method has finished."""
    return repeat if repeat in method.cells else min(method.cells)


def generator_figure(results: RunResults, target: str, prefix: str, metric: str = "srcc") -> Figure | None:
    """A correlation inside each generator's images, mean over the repeats; None if no image has a known generator."""
    from agiqa_bench.figures.heat_map import heat_map

    methods = ordered(results, target, metric)
    names = generators(methods, target)
    if not names:
        return None
    values = [[_inside(method, target, name, metric) for name in names] for method in methods]
    means = {name: _mean([line[column] for line in values]) for column, name in enumerate(names)}
    title = METRIC[metric].title
    return Figure(
        key=anchor(prefix, "generator-map", target),
        title=f"{title} inside each generator: {target}",
        alt=f"{title} of {counted(len(methods), 'method')} inside the images of {counted(len(names), 'generator')}. "
        f"Mean over the methods: {_extremes(means, 'higher')}",
        draw=partial(heat_map, values, [row_title(results, method) for method in methods], names, title),
        caption="Mean over the repeats in which it is defined; hatched where it is defined in none. Methods stand in "
        f"the order of their mean {title} over all images.",
    )


def _inside(method: MethodResults, target: str, generator: str, metric: str) -> float | None:
    found = (cell.metrics[target]["per_generator"].get(generator, {}) for cell in method.cells.values())
    return _mean([entry.get(metric) for entry in found])


def mos_figure(results: RunResults, samples: pd.DataFrame | None, prefix: str) -> Figure | None:
    """How the MOS of the data set are spread; None if its rows are not stored with the run.

    Args:
        results: Say which targets.
        samples: The data set's rows: columns family and mos_<target>.
        prefix: Goes before the key.
    """
    from agiqa_bench.figures.histogram import MOST_FAMILIES, histogram

    if samples is None or samples.empty:
        return None
    families = samples["family"].fillna("").astype(str).to_numpy()
    names = sorted(set(families), key=lambda name: (not name, name))
    if not 1 < len(names) <= MOST_FAMILIES:
        families, names = np.full(len(samples), ""), [""]
    parts = {}
    for target in results.targets:
        mos = samples[f"mos_{target}"].to_numpy(dtype=np.float64)
        parts[target] = {name: mos[families == name] for name in names}
    spread = "; ".join(
        f"{target}: {mos.min():.2f} to {mos.max():.2f}, mean {mos.mean():.2f}, standard deviation {mos.std(ddof=1):.2f}"
        for target, mos in ((target, np.concatenate(list(own.values()))) for target, own in parts.items())
    )
    return Figure(
        key=f"{prefix}mos",
        title="MOS of the data set",
        alt=f"Histogram of the MOS of {counted(len(samples), 'image')}. {spread}.",
        draw=partial(histogram, parts),
        caption=f"All {counted(len(samples), 'image')} of the data set"
        + (", by generator family, on top of each other." if len(names) > 1 else "."),
    )


def curves_figure(results: RunResults, prefix: str) -> Figure | None:
    """Loss and validation per epoch of the methods that are trained; None if none has kept a history."""
    from agiqa_bench.figures.curves import curves

    panels = [panel for method in results.methods for panel in _curve_panels(results, method)]
    if not panels:
        return None
    longest = max(len(curve.loss) for panel in panels for curve in panel.curves)
    where = "test" if results.protocol["select"] == "test" else "validation"
    return Figure(
        key=f"{prefix}curves",
        title="Training",
        alt=f"Training loss and {where} score per epoch of {counted(len(panels), 'training')}, over at most "
        f"{counted(longest, 'epoch')}.",
        draw=partial(curves, panels, where),
        caption=_curves_caption(panels, where),
    )


def _curves_caption(panels: Sequence[CurvesPanel], where: str) -> str:
    """How to read the curves: what the score is, what rings and dotted lines mean, and where the latter are."""
    curves = [(panel.name, curve) for panel in panels for curve in panel.curves]
    said = ["Thin: one repeat; thick: the mean over the epochs that all repeats have."]
    if any(curve.validation for _, curve in curves):
        said.append(
            f"The {where} score, higher is better, is what a method chooses its epoch by, as its authors do: a "
            "correlation, or the sum of several, of SRCC and PLCC or of the targets that it learns together. Scores of "
            "two methods are therefore not to be compared."
        )
    if any(curve.chosen for _, curve in curves):
        said.append(f"Rings: the epochs that were chosen, each the one with the highest {where} score of its stage.")
    staged = list(dict.fromkeys(name for name, curve in curves if curve.starts))
    if staged:
        said.append(
            f"Dotted: where the next stage of training begins, with other layers or settings: {', '.join(staged)}."
        )
    if any(curve.refit for _, curve in curves):
        said.append(
            "Thin and dashed: the loss of the second training, on training and validation part, up to the epoch that "
            "the first has chosen."
        )
    return " ".join(said)


def _curve_panels(results: RunResults, method: MethodResults) -> list[CurvesPanel]:
    """A method's curves; one panel per target where it trains for each apart."""
    from agiqa_bench.figures.curves import CurvesPanel

    by_target: dict[int | None, list[Curve]] = {}
    for _, cell in sorted(method.cells.items()):
        trainings: dict[int | None, list[Mapping[str, float | None]]] = {}
        for entry in cell.history():
            if "epoch" in entry and "loss" in entry:
                target = entry.get("target")
                trainings.setdefault(None if target is None else int(target), []).append(entry)
        for target, entries in trainings.items():
            by_target.setdefault(target, []).append(_curve(entries))
    title = row_title(results, method)
    return [
        CurvesPanel(
            title if target is None or len(by_target) == 1 else f"{title}: {method.targets[target]}", tuple(own)
        )
        for target, own in sorted(by_target.items(), key=lambda item: -1 if item[0] is None else item[0])
    ]


def _curve(entries: Sequence[Mapping[str, float | None]]) -> Curve:
    from agiqa_bench.figures.curves import Curve

    first = [entry for entry in entries if not entry.get("refit")]
    validated = any("validation" in entry for entry in first)
    starts = _stages(first)
    return Curve(
        loss=tuple(_number(entry["loss"]) for entry in first),
        validation=tuple(_number(entry.get("validation")) for entry in first) if validated else (),
        chosen=tuple(place for place, entry in enumerate(first) if entry.get("chosen") == 1),
        starts=starts[1:],
        refit=_aligned([entry for entry in entries if entry.get("refit")], starts),
    )


def _stages(entries: Sequence[Mapping[str, float | None]]) -> tuple[int, ...]:
    """Positions of the epochs with which a stage of a training begins, the first one included."""
    return tuple(place for place, entry in enumerate(entries) if place == 0 or entry["epoch"] == 1)


def _aligned(entries: Sequence[Mapping[str, float | None]], starts: Sequence[int]) -> tuple[float, ...]:
    """Losses of a second training, each stage from where that of the first begins; NaN where it has no epoch."""
    places: dict[int, float] = {}
    own = _stages(entries)
    for start, begin, end in zip(starts, own, (*own[1:], len(entries)), strict=False):
        places |= {start + place: _number(entries[begin + place]["loss"]) for place in range(end - begin)}
    return tuple(places.get(place, math.nan) for place in range(max(places, default=-1) + 1))


def error_gallery(
    results: RunResults, target: str, samples: pd.DataFrame | None, prefix: str, count: int = 12
) -> Gallery | None:
    """The images that the best method that looks at images gets most wrong.

    The error is that of the method's scores after the logistic fit of each repeat, averaged over the repeats in which
    the image is a test image.

    Args:
        results: What is finished.
        target: Whose MOS.
        samples: The data set's rows: columns row, image, path, prompt and generator.
        prefix: Goes before the key.
        count: Most images.

    Returns:
        The images, largest error first, or None if their rows are not stored with the run, or nothing can be fitted.
    """
    methods = [method for method in ordered(results, target, "srcc") if not method.diagnostic]
    if samples is None or not methods:
        return None
    best = methods[0]
    errors = _mapped_scores(best, target)
    if errors is None:
        return None
    largest = errors.loc[(errors["mapped"] - errors["mos"]).abs().sort_values(ascending=False, kind="stable").index]
    rows = samples.set_index("row")
    pictures = tuple(
        Picture(
            path=str(rows.at[row, "path"] or ""),
            name=str(rows.at[row, "image"]),
            prompt=str(rows.at[row, "prompt"] or ""),
            generator=str(rows.at[row, "generator"] or ""),
            mos=float(mos),
            predicted=float(mapped),
        )
        for row, mapped, mos in largest[:count].itertuples()
    )
    return Gallery(
        key=anchor(prefix, "errors", target),
        title=f"Largest errors of {row_title(results, best)}: {target}",
        pictures=pictures,
        # Across data sets `synthetic` may be said of the one learnt from, while the images are the other's.
        free=bool(results.protocol.get("synthetic", False)) and not crosses(results),
        caption=f"The {len(pictures)} test images with the largest error of {row_title(results, best)}, the best "
        "method by mean SRCC that looks at images; its scores after the logistic fit of each repeat, averaged over the "
        f"repeats in which an image was a test image ({counted(len(best.cells), 'repeat')} finished).",
    )


def _mapped_scores(method: MethodResults, target: str) -> pd.DataFrame | None:
    """By row of the data set: the mean of its scores on the scale of MOS (mapped), and its MOS (mos)."""
    import pandas as pd

    from agiqa_bench.evaluation.metrics import fit_logistic

    tables = []
    for _, cell in sorted(method.cells.items()):
        table = cell.predictions()
        scores, mos = (table[f"{name}_{target}"].to_numpy(dtype=np.float64) for name in ("score", "mos"))
        fit = fit_logistic(scores, mos)
        if fit is not None:
            tables.append(pd.DataFrame({"row": table["row"], "mapped": fit(scores), "mos": mos}))
    return pd.concat(tables).groupby("row").mean() if tables else None


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _short(value: float | None) -> str:
    return "n/a" if value is None else signed(value, 3)


def _extremes(values: Mapping[str, float | None], better: str) -> str:
    """The best and the worst of some named numbers, in words."""
    defined = {name: value for name, value in values.items() if value is not None}
    if not defined:
        return "none is defined."
    low, high = min(defined, key=lambda name: defined[name]), max(defined, key=lambda name: defined[name])
    best, worst = (low, high) if better == "lower" else (high, low)
    text = f"best {best} with {defined[best]:.3f}"
    return f"{text}." if best == worst else f"{text}, last {worst} with {defined[worst]:.3f}."


def _any_diagnostic(methods: Sequence[MethodResults]) -> bool:
    return any(method.diagnostic for method in methods)


def _hollow(methods: Sequence[MethodResults]) -> str:
    return f" Hollow: {NO_PIXEL}." if _any_diagnostic(methods) else ""
