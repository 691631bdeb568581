"""How many numbers the networks of a method hold, and how many of them are learnt.

Nothing here imports torch: a method that has no network must not pay for it, nor depend on its version.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ParameterCounts:
    """Size of a fitted method's networks.

    Attributes:
        total: Parameters of all networks that a score is computed with, frozen ones too; buffers, such as the running
            means of batch norms, do not count.
        trainable: Those that `fit` learns; None if something is learnt that has no such number, e.g. support vectors.
    """

    total: int
    trainable: int | None


def count_parameters(networks: Iterable[nn.Module], *, trained: bool) -> ParameterCounts | None:
    """Count the parameters of networks; one that several share counts once.

    Args:
        networks: The networks; all of them, if a method has one per target.
        trained: Whether `fit` trains what is not frozen; a zero-shot method trains nothing.

    Returns:
        The counts; None if there is no parameter.
    """
    parameters = {id(parameter): parameter for network in networks for parameter in network.parameters()}.values()
    if not parameters:
        return None
    learnt = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    return ParameterCounts(sum(parameter.numel() for parameter in parameters), learnt if trained else 0)


def held_networks(holder: object) -> list[nn.Module]:
    """The torch modules among an object's attributes, in its dicts, lists and tuples too, and those inside of them.

    Modules in a plain container of a module count as well: that is how frozen weights are kept out of a `state_dict`.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return []
    found: list[nn.Module] = []
    seen: set[int] = set()
    pending: list[Any] = [vars(holder)]
    while pending:
        value = pending.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, torch.nn.Module):
            found.append(value)
            pending.append(vars(value))
        elif isinstance(value, dict):
            pending.extend(value.values())
        elif isinstance(value, list | tuple):
            pending.extend(value)
    return found
