"""Being part of a Ray cluster: joined for a block, quietly, without Ray's ways with signals."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from agiqa_bench.errors import ConfigError

_OBJECTS_BYTES = 100 * 2**20
"""Shared memory of a Ray that is started here: what goes through it is a few lines a task."""

_CONNECT_SECONDS = 10.0
"""How long the address of a cluster may take to answer."""


def import_ray() -> Any:
    """Ray, told not to report its use to its makers.

    Raises:
        ConfigError: It is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise ConfigError(f"--executor ray: {error}; install it with: pip install 'agiqa-bench[ray]'") from error


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Be part of a cluster in the block: the one of this process if it is in one, else the one at `address`.

    Args:
        address: As Ray takes it; None starts a Ray on this machine, which ends with the block.

    Raises:
        ConfigError: It cannot be joined, or Ray cannot be started.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield
        return
    if address is not None:
        _refuse_if_nobody_listens(address)
    own = {} if address else {"include_dashboard": False, "object_store_memory": _OBJECTS_BYTES}
    try:
        with _handlers_kept():
            ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ray.exceptions.RayError, OSError, RuntimeError, ValueError, AssertionError) as error:
        ray.shutdown()
        where = "Ray cannot be started on this machine" if address is None else f"--ray-address {address}"
        token = "" if address is None else "; a cluster that wants a token must have given it to this user, too"
        raise ConfigError(f"{where}: {first_line(error)}; see 'ray status'{token}") from error
    try:
        with _without_bulletins():
            yield
    finally:
        ray.shutdown()


def _refuse_if_nobody_listens(address: str) -> None:
    """Say at once what Ray would try for minutes, in many lines; other kinds of addresses are left to Ray."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise ConfigError(
            f"--ray-address {address}: nothing answers there ({error.strerror or error}); 'ray status' on a node of "
            "the cluster tells its address, and --ray-address auto finds it there"
        ) from error


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Keep the handler of SIGTERM, in place of which Ray puts one that ends the process at once."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and before is not None:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _without_bulletins() -> Iterator[None]:
    """Keep what Ray's daemons report of lost workers, a page each, out of the view; Ray has no switch for it."""
    internals: Any = importlib.import_module("ray._private.worker")
    shown = getattr(internals, "print_to_stdstream", None)
    if shown is None:
        yield
        return
    internals.print_to_stdstream = lambda *data, **options: None  # noqa: ARG005
    try:
        yield
    finally:
        internals.print_to_stdstream = shown


def first_line(error: BaseException) -> str:
    """The first line of what Ray says of an error, which is often a page."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
