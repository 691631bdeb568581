"""The top of a page as a picture, for the README: `python screenshot.py report.html picture.png`, by Chromium."""

import sys
from pathlib import Path

from conftest import CHROMIUM_OPTIONS, NO_CHROMIUM, chromium
from playwright.sync_api import sync_playwright

WIDTH, HEIGHT = 1280, 1330


def main(page_file: Path, picture: Path) -> None:
    """Write the picture."""
    executable = chromium()
    if executable is None:
        sys.exit(NO_CHROMIUM)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(CHROMIUM_OPTIONS))
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto(page_file.resolve().as_uri())
        page.screenshot(path=picture)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
