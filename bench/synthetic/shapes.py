"""Signed distances to simple shapes: negative inside, in the units of the coordinates, y pointing down.

`x` and `y` broadcast against each other (a row and a column give a picture). Only exactly rounded operations are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float64]
Point = tuple[float, float]


def circle(x: Field, y: Field, cx: float, cy: float, radius: float) -> Field:
    """Distance to a disc."""
    u, v = x - cx, y - cy
    return np.sqrt(u * u + v * v) - radius


def ellipse(x: Field, y: Field, cx: float, cy: float, rx: float, ry: float) -> Field:
    """About the distance to an ellipse with half-axes rx and ry: exact on its outline, first order near it."""
    u, v = (x - cx) / rx, (y - cy) / ry
    level = np.sqrt(u * u + v * v)
    u, v = u / rx, v / ry
    return level * (level - 1.0) / (np.sqrt(u * u + v * v) + 1e-9)


def leaf(x: Field, y: Field, cx: float, cy: float, rx: float, ry: float, turn: Point) -> Field:
    """About the distance to an ellipse turned by the unit vector `turn` = (cosine, sine)."""
    c, s = turn
    u, v = x - cx, y - cy
    return ellipse(c * u + s * v, c * v - s * u, 0.0, 0.0, rx, ry)


def box(x: Field, y: Field, cx: float, cy: float, rx: float, ry: float, corner: float = 0.0) -> Field:
    """Distance to a rectangle with half-sides rx and ry and rounded corners."""
    u = np.abs(x - cx) - (rx - corner)
    v = np.abs(y - cy) - (ry - corner)
    outside_u, outside_v = np.maximum(u, 0.0), np.maximum(v, 0.0)
    distance: Field = (
        np.sqrt(outside_u * outside_u + outside_v * outside_v) + np.minimum(np.maximum(u, v), 0.0) - corner
    )
    return distance


def segment(x: Field, y: Field, a: Point, b: Point, half_width: float) -> Field:
    """Distance to a line from `a` to `b` with round ends."""
    ex, ey = b[0] - a[0], b[1] - a[1]
    u, v = x - a[0], y - a[1]
    along = np.clip((u * ex + v * ey) / (ex * ex + ey * ey), 0.0, 1.0)
    u, v = u - along * ex, v - along * ey
    return np.sqrt(u * u + v * v) - half_width


def polyline(x: Field, y: Field, points: Sequence[Point], half_width: float) -> Field:
    """Distance to a chain of lines with round ends and joints."""
    return union(*(segment(x, y, a, b, half_width) for a, b in pairwise(points)))


def polygon(x: Field, y: Field, points: Sequence[Point], corner: float = 0.0) -> Field:
    """Distance to a simple polygon, grown by `corner` with round corners."""
    nearest: Field | None = None
    inside: npt.NDArray[np.bool_] | None = None
    for (ax, ay), (bx, by) in zip(points, [*points[1:], points[0]], strict=True):
        ex, ey = bx - ax, by - ay
        u, v = x - ax, y - ay
        along = np.clip((u * ex + v * ey) / (ex * ex + ey * ey), 0.0, 1.0)
        u2, v2 = u - along * ex, v - along * ey
        square = u2 * u2 + v2 * v2
        nearest = square if nearest is None else np.minimum(nearest, square)
        # A ray to the side crosses the edge if the edge spans the ray's height and lies on the right side of the point.
        crosses = ((ay > y) != (by > y)) & ((u * ey < v * ex) == (ey > 0))
        inside = crosses if inside is None else inside ^ crosses
    if nearest is None or inside is None:
        raise ValueError("a polygon needs points")
    distance = np.sqrt(nearest)
    return np.where(inside, -distance, distance) - corner


def ring(distance: Field, half_width: float) -> Field:
    """Distance to the outline of a shape, drawn with a pen."""
    return np.abs(distance) - half_width


def union(*distances: Field) -> Field:
    """Distance to the nearest of several shapes."""
    result = distances[0]
    for distance in distances[1:]:
        result = np.minimum(result, distance)
    return result


def common(*distances: Field) -> Field:
    """About the distance to what several shapes share."""
    result = distances[0]
    for distance in distances[1:]:
        result = np.maximum(result, distance)
    return result


def without(distance: Field, *holes: Field) -> Field:
    """About the distance to a shape with other shapes cut out."""
    return common(distance, *(-hole for hole in holes))


def blend(a: Field, b: Field, radius: float) -> Field:
    """About the distance to two shapes melted together over `radius` (a polynomial smooth minimum)."""
    h = np.maximum(radius - np.abs(a - b), 0.0)
    return np.minimum(a, b) - h * h / (4.0 * radius)
