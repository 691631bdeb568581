"""How a number is written, in tables and in sentences: no rendering rounds by itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

from agiqa_bench.reporting.model import Column, Number


@dataclass(frozen=True)
class NumberText:
    """The parts of a number as they are shown.

    Attributes:
        value: The number, e.g. `0.8019`, `+0.0132`, `<0.001`, or what stands for an undefined one.
        std: Its standard deviation, e.g. `0.0357`; empty if it is not shown.
        low: Lower end of its interval; empty if that is not shown.
        high: Upper end of its interval; empty if that is not shown.
    """

    value: str
    std: str = ""
    low: str = ""
    high: str = ""


def number_text(number: Number, column: Column) -> NumberText:
    """The parts of `number` that `column` shows, rounded as it says.

    Thousands are set apart by commas where a column has no decimals; what rounds to zero has no sign; a p-value that
    rounds to zero is shown as less than the smallest one that does not.

    Raises:
        ValueError: A part of the number is NaN or infinite; what is not defined is None.

    >>> number_text(Number(0.80193, 0.0357, 0.77, 0.83, 10), Column("srcc", "SRCC", spread=True))
    NumberText(value='0.8019', std='0.0357', low='', high='')
    >>> number_text(Number(0.00002), Column("p", "p", decimals=3, p_value=True)).value
    '<0.001'
    >>> number_text(Number(14410752.0), Column("parameters", "Parameters", decimals=0)).value
    '14,410,752'
    """
    if number.value is None:
        return NumberText(column.missing)
    value = _rounded(number.value, column.decimals)
    if column.p_value and _is_zero(value):
        value = f"<{10.0**-column.decimals:.{column.decimals}f}"
    elif column.signed and number.value > 0 and not _is_zero(value):
        value = f"+{value}"
    std = number.std if column.spread else None
    low, high = (number.low, number.high) if column.interval else (None, None)
    return NumberText(
        value,
        "" if std is None else _rounded(std, column.decimals),
        "" if low is None or high is None else _rounded(low, column.decimals),
        "" if low is None or high is None else _rounded(high, column.decimals),
    )


def counted(number: int, noun: str) -> str:
    """A number of things, in words that fit the number.

    >>> counted(1, "repeat"), counted(2, "repeat"), counted(2982, "image")
    ('1 repeat', '2 repeats', '2,982 images')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def share_text(share: float) -> str:
    """A share in [0, 1] in whole per cent; 0% means none and 100% all.

    >>> share_text(0.0), share_text(0.004), share_text(0.812), share_text(0.999), share_text(1.0)
    ('0%', '<1%', '81%', '>99%', '100%')
    """
    text = f"{share:.0%}"
    return "<1%" if text == "0%" and share > 0 else ">99%" if text == "100%" and share < 1 else text


def shared_lines(**shares: float) -> list[str]:
    """What test images share with the training part: a line each, such as `prompt=0.25`; shares in [0, 1]."""
    return [
        f"{share_text(share)} of the test images have their {what} in the training part"
        for what, share in shares.items()
    ]


def p_text(p: float, decimals: int = 4) -> str:
    """A p-value amid a sentence, rounded as in a table.

    >>> p_text(0.0321), p_text(0.00002)
    ('p = 0.0321', 'p < 0.0001')
    """
    text = number_text(Number(p), Column("p", "p", decimals=decimals, p_value=True)).value
    return f"p < {text[1:]}" if text.startswith("<") else f"p = {text}"


def _rounded(value: float, decimals: int) -> str:
    """A number in fixed notation; never a minus before nothing but zeros."""
    if not math.isfinite(value):
        raise ValueError(f"a table holds {value}: what is not defined is None, with a reason")
    text = f"{value:,.0f}" if decimals == 0 else f"{value:.{decimals}f}"
    return text.lstrip("-") if _is_zero(text) else text


def _is_zero(text: str) -> bool:
    return not any(digit in text for digit in "123456789")
