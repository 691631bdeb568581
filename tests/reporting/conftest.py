"""Fixtures of the tests of reports."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


CHROMIUM_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
NO_CHROMIUM = "for want of Chromium: install Debian's package 'chromium', or name one in AGIQA_CHROMIUM"


def chromium() -> str | None:
    """Where Chromium lies: what `AGIQA_CHROMIUM` says, else the system's; None if there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("AGIQA_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One headless Chromium for all tests: `AGIQA_CHROMIUM`, else the system's; without one the tests are skipped."""
    executable = chromium()
    if executable is None:
        if os.environ.get("CI"):
            pytest.fail(NO_CHROMIUM)
        pytest.skip(NO_CHROMIUM)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # A socket lies in the folder for temporary files, whose path may be too long for one; and Chromium hangs with
        # another clock than the system's (nox -s tests_elsewhere).
        own = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"} | {"TMPDIR": "/tmp"}
        started = playwright.chromium.launch(executable_path=executable, args=list(CHROMIUM_OPTIONS), env=own)
        yield started
        started.close()


@dataclass
class Opened:
    """A page with what it asked for and complained about."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Opened]]:
    """Opens a file: `open_page(file, width=390, color_scheme="dark", fragment="#target=quality")`.

    In the end no page may have asked for anything outside its folder, nor complained in any way.
    """
    opened: list[tuple[Path, Opened]] = []

    def open_file(file: Path, *, width: int = 1280, height: int = 900, fragment: str = "", **options: Any) -> Opened:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        result = Opened(context.new_page())
        result.page.on("request", lambda request: result.requests.append(request.url))
        result.page.on(
            "console", lambda m: result.complaints.append(m.text) if m.type in ("error", "warning") else None
        )
        result.page.on("pageerror", lambda error: result.complaints.append(str(error)))
        result.page.on("dialog", lambda dialog: (result.complaints.append(dialog.message), dialog.dismiss()))
        result.page.goto(file.as_uri() + fragment)
        opened.append((file, result))
        return result

    yield open_file
    for file, result in opened:
        result.page.context.close()
        assert result.complaints == []
        outside = [url for url in result.requests if not url.startswith((file.as_uri(), "data:", "blob:"))]
        assert outside == []
