"""What the README shows of runs, and whether it is what the code gives now; `nox -s readme` and `readme_check` call it.

python tests/readme.py write RUN REPORT PICTURE   the demo's tables and pictures, of a run, its report and a screenshot
python tests/readme.py check RUN                  say what of them is stale
python tests/readme.py no-pixel FOLDER            the tables of runs without images, in FOLDER/<data set>-<split>
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from agiqa_bench.execution.provenance import describe_device, git_state, library_versions
from agiqa_bench.synthetic.contact_sheet import contact_sheet

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
FIGURE = ROOT / "results/reference/demo-srcc.svg"
SCREENSHOT = ROOT / "results/reference/demo-report.png"
SHEET = ROOT / "results/reference/demo-contact-sheet.png"
NO_PIXEL = ROOT / "results/reference/no-pixel"
PROVENANCE = NO_PIXEL / "PROVENANCE.md"

TOLERANCE = 0.02
"""How far numbers may be from those of another kind of machine, which rounds otherwise while a network learns."""

LETTERING = 0.05
"""Share of the contact sheet's pixels that other versions of Pillow may draw otherwise: its letters."""

_KIND = "computed on "
_CHUNK = "agiqa-bench"


def kind_of_machine() -> str:
    """Processor, its instructions and the libraries that compute: where these are equal, so are all digits."""
    flags = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text("utf-8", errors="replace").splitlines()
        flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    instructions = hashlib.sha256(" ".join(sorted(flags.split())).encode()).hexdigest()[:8]
    versions = library_versions() | {"timm": version("timm")}
    libraries = ", ".join(f"{name} {number}" for name, number in versions.items())
    python = ".".join(map(str, sys.version_info[:3]))
    return f"{describe_device('cpu')['name']}, instructions {instructions}; Python {python}, {libraries}"


def demo_block(run: Path) -> str:
    """The README's tables of a demo run, with the kind of machine in a comment below them."""
    text = report(run, "--brief", "--format", "markdown")
    tables = [section(text, target) for target in ("quality", "alignment")]
    return "\n\n".join([*tables, f"<!-- {_KIND}{kind_of_machine()} -->"])


def report(run: Path, *options: str) -> str:
    """What `agiqa-bench report` prints of a run."""
    command = [sys.executable, "-m", "agiqa_bench", "report", *options, str(run)]
    return subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8").stdout


def section(markdown: str, target: str) -> str:
    """The table of one target out of a Markdown report, under a plain line instead of a heading."""
    part = markdown.split(f"### Target: {target}\n", 1)[1]
    table = next(block for block in part.split("\n\n") if block.startswith("|"))
    return f"Target: {target}\n\n{table}"


def stale(shown: str, now: str) -> list[str]:
    """What of the tables is not what it would be now, in lines; empty if nothing.

    On the kind of machine that wrote them every letter counts. On another one the rows are the same and their numbers
    within `TOLERANCE`; order and marks then need only agree with the numbers that are shown (see `contradictions`), and
    what the t-test cannot tell apart (≈) is not compared.

    Args:
        shown: The block as it stands in the README.
        now: As it would be written now.
    """
    if kind(shown) == kind(now):
        pairs = zip(shown.splitlines(), now.splitlines(), strict=False)
        found = [f"'{old}' would be '{new}'" for old, new in pairs if old != new]
        if not found and shown != now:
            found = [f"{len(shown.splitlines())} lines would be {len(now.splitlines())}"]
        return found
    before, after = numbers(shown), numbers(now)
    if before.keys() != after.keys():
        return [f"rows come or go: {', '.join(sorted(before.keys() ^ after.keys()))}"]
    moved = [
        f"{row}: {old} would be {after[row]}, more than {TOLERANCE} away"
        for row, old in before.items()
        if len(old) != len(new := after[row]) or any(abs(x - y) > TOLERANCE for x, y in zip(old, new, strict=True))
    ]
    return moved + contradictions(shown)


def kind(block: str) -> str:
    """The kind of machine that a block says it was computed on; empty if it does not say."""
    found = re.search(rf"<!-- {_KIND}(.*) -->", block)
    return found[1] if found else ""


def rows(block: str) -> dict[str, dict[str, list[str]]]:
    """Cells of each row by table, e.g. `Target: quality`, and method; the titles of the columns under `Method`."""
    found: dict[str, dict[str, list[str]]] = {}
    target = ""
    for line in block.splitlines():
        if line.startswith("Target: "):
            target = line
            found[target] = {}
        elif line.startswith("| ") and not line.startswith("| ---"):
            name, *cells = line.strip("| ").split(" | ")
            found[target][name] = cells
    return found


def numbers(block: str) -> dict[str, list[float]]:
    """Every number of each row, by table and method."""
    return {
        f"{target}: {name}": [float(text) for text in re.findall(r"-?\d+\.\d+", " ".join(cells))]
        for target, table in rows(block).items()
        for name, cells in table.items()
        if name != "Method"
    }


def contradictions(block: str) -> list[str]:
    """Where the order of the rows, or what is bold or underlined, is not as the first numbers of the cells say."""
    found = []
    for target, table in rows(block).items():
        titles = table["Method"]
        values = {
            name: [float(number[0]) if (number := re.findall(r"-?\d+\.\d+", cell)) else None for cell in cells]
            for name, cells in table.items()
            if name != "Method"
        }
        order = [value[0] for value in values.values() if value[0] is not None]
        if any(first < second for first, second in pairwise(order)):
            found.append(f"{target}: the rows are not in the order of their {titles[0]}")
        for column, title in enumerate(titles):
            # A row in italics sees no pixel and takes part in no ranking.
            judged = {name: value[column] for name, value in values.items() if not name.startswith("*")}
            ranked = {name: number for name, number in judged.items() if number is not None}
            best = sorted(ranked.values(), reverse=not title.startswith("RMSE"))
            for place, (mark, word) in enumerate((("**", "bold"), ("<ins>", "underlined"))):
                marked = [name for name in ranked if table[name][column].startswith(mark)]
                if any(ranked[name] != best[place] for name in marked) or (len(best) > place and not marked):
                    found.append(f"{target}: {title} of {', '.join(marked) or 'no row'} is {word}, not {best[place]}")
    return found


def stamp(block: str) -> str:
    """What ties a picture to the tables that it was drawn with."""
    return f"table {hashlib.sha256(block.encode()).hexdigest()}"


def stamp_picture(picture: Path, target: Path, text: str) -> None:
    """Write a PNG file again, with a line of text in it that viewers do not show."""
    note = PngInfo()
    note.add_text(_CHUNK, text)
    with Image.open(picture) as image:
        image.save(target, "PNG", pnginfo=note, optimize=True)


def foreign_pictures(block: str, figure: Path = FIGURE, screenshot: Path = SCREENSHOT) -> list[str]:
    """Which pictures were not drawn with the tables of a block, in lines."""
    with Image.open(screenshot) as image:
        image.load()
        text = getattr(image, "text", {}).get(_CHUNK, "")
    drawn = {figure: stamp(block) in figure.read_text("utf-8"), screenshot: text == stamp(block)}
    return [f"{file.name} was not drawn with the README's tables" for file, belongs in drawn.items() if not belongs]


def stale_sheet(same_kind: bool, sheet: Path = SHEET) -> list[str]:
    """Whether the contact sheet is what is drawn now, to the pixel; on another kind of machine letters may differ."""
    with tempfile.TemporaryDirectory() as folder:
        contact_sheet(Path(folder) / "now.png")
        before, now = (np.asarray(Image.open(file).convert("RGB")) for file in (sheet, Path(folder) / "now.png"))
    if before.shape != now.shape:
        return [f"{sheet.name} has another size now"]
    share = float((before != now).any(axis=2).mean())
    return (
        [f"{share:.1%} of the pixels of {sheet.name} are others now"] if share > (0 if same_kind else LETTERING) else []
    )


def block_of(name: str) -> str:
    """What stands between `<!-- name -->` and `<!-- end of name -->` of the README."""
    text = README.read_text("utf-8").split(f"<!-- {name} -->\n", 1)[1]
    return text.split(f"\n<!-- end of {name} -->", 1)[0]


def replace_block(name: str, block: str) -> None:
    """Put a block between `<!-- name -->` and `<!-- end of name -->` of the README."""
    before, rest = README.read_text("utf-8").split(f"<!-- {name} -->\n", 1)
    after = rest.split(f"<!-- end of {name} -->", 1)[1]
    README.write_text(f"{before}<!-- {name} -->\n{block}\n<!-- end of {name} -->{after}", "utf-8")


def write(run: Path, report_folder: Path, picture: Path) -> None:
    """Write the demo's tables, their figure, the picture of the report and the contact sheet."""
    block = demo_block(run)
    replace_block("demo table", block)
    figure = (report_folder / "figures/strip-srcc-quality.svg").read_text("utf-8")
    FIGURE.write_text(figure.replace("</svg>", f"<!-- {stamp(block)} --></svg>"), "utf-8")
    stamp_picture(picture, SCREENSHOT, stamp(block))
    contact_sheet(SHEET)


def check(run: Path) -> list[str]:
    """Everything of the demo's tables and pictures that is not what the code gives now, in lines."""
    shown, now = block_of("demo table"), demo_block(run)
    return [*stale(shown, now), *foreign_pictures(shown), *stale_sheet(kind(shown) == kind(now))]


def no_pixel_row(row: dict[str, str]) -> tuple[str, ...]:
    """One row of a results table with the metrics that the README shows."""
    metrics = []
    for key in ("srcc", "plcc", "srcc_within_generator", "srcc_within_prompt"):
        mean, std = row[f"{key}_mean"], row[f"{key}_std"]
        metrics.append(f"{float(mean):.3f} ± {float(std):.3f}" if mean else "undefined")
    return (row["dataset"], row["split"], row["target"], f"`{row['method']}`", *metrics)


def write_no_pixel(folder: Path) -> None:
    """Write the tables of runs that saw no image: whole as CSV, in short in the README, and where they come from."""
    titles = ("Data set", "Split", "Target", "Method", "SRCC", "PLCC", "SRCC in generator", "SRCC in prompt")
    lines = [titles, ("---",) * 4 + ("---:",) * 4]
    for name in ("agiqa3k-grouped", "agiqa1k-grouped", "aigciqa2023-grouped", "agiqa3k-image"):
        table = report(folder / name, "--format", "csv")
        (NO_PIXEL / f"{name}.csv").write_text(table, "utf-8")
        lines += [no_pixel_row(row) for row in csv.DictReader(io.StringIO(table))]
    replace_block("no-pixel table", "\n".join(f"| {' | '.join(line)} |" for line in lines))
    state = git_state(ROOT / "bench") or {"commit": "unknown", "changed": True}
    commit = state["commit"][:7] + (" with local changes" if state["changed"] else "")
    written = f"Written by `nox -s readme -- FOLDER` on {datetime.now(UTC):%Y-%m-%d} at commit {commit}"
    text = re.sub(
        r"^Written by .*$", f"{written}: {kind_of_machine()}.", PROVENANCE.read_text("utf-8"), flags=re.MULTILINE
    )
    PROVENANCE.write_text(text, "utf-8")


def main(what: str, *paths: str) -> None:
    """Write or check, as the module says."""
    given = [Path(path) for path in paths]
    if what == "write":
        write(*given)
    elif what == "no-pixel":
        write_no_pixel(*given)
    elif found := check(*given):
        sys.exit("\n".join([*found, "the README is stale: nox -s readme"]))
    else:
        print("the README's tables and pictures are what the code gives now")  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
