"""The protocol of external methods: a table in, scores out. Any language, any environment.

The harness writes a table and calls a command; the command writes a table and ends with exit code 0.

- Tables are CSV: UTF-8, one header, commas, cells with commas or quotes in double quotes (RFC 4180).
- The input has the columns `id`, `image` (absolute path of a read-only PNG with exactly the 8-bit RGB pixels that
  every other method sees), `prompt` and `generator`. Tables to learn from have besides `mos_<target>` for each target
  that is to be predicted, on the data set's own scale.
- The output has the columns `id` and `score`: one row for each id of the input, in any order, finite numbers, higher is
  better (the setting `higher_is_better = false` turns them round). One score stands for every target; a method with a
  score for each target writes `score_<target>` columns in place of `score`.
- In the command `{input}` and `{output}` stand for the paths of the two tables, and for a trained method `{train}` and
  `{validation}` for those to learn from (`{validation}` holds no rows where nothing is held back). A command without
  any of them gets the paths as its last arguments, in the order input, output, train, validation.
- The command is not run by a shell: write `sh -c '...'` for pipes and redirection. Its folder is the one that
  `agiqa-bench` was started in.
- Environment: AGIQA_DEVICE is the device of the run (`cpu`, `cuda:0`), AGIQA_PRECISION its arithmetic (`float32`,
  `bf16`, `fp16`), AGIQA_SEED the seed of the repeat, and where the network must not be touched AGIQA_OFFLINE and
  HF_HUB_OFFLINE are 1.
- A line `progress DONE TOTAL` on standard output moves the progress bar; all else that is printed is kept with a
  failure and dropped otherwise.
- It is ended, with all processes of its group, when its time is over or the run is stopped (SIGTERM, five seconds later
  SIGKILL). The tables are deleted with it; the PNGs when the run ends, because other methods use them too.

A zero-shot method is called once for all images of a data set; its scores must depend on the row's own image and prompt
alone. A trained method is called once for each repeat, and trains and scores in that one call.
"""

from __future__ import annotations

import csv
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from agiqa_bench.data.samples import Samples
from agiqa_bench.external.command import Command
from agiqa_bench.external.pngs import png_files
from agiqa_bench.method import Context, Scores

INPUT_COLUMNS = ("id", "image", "prompt", "generator")

_NAMED = 3
"""How many ids a message names."""


def score(
    command: Command,
    samples: Samples,
    context: Context,
    *,
    train: Sequence[Samples] = (),
    validation: Sequence[Samples] = (),
) -> Scores:
    """Scores of samples by a command.

    Args:
        command: What to run.
        samples: To be scored; their MOS are not read.
        context: Of the run that this is part of.
        train: For a trained method: the parts that it learns from.
        validation: For a trained method: the parts that it chooses an epoch by; empty if nothing is held back.

    Returns:
        float64 (n,) for one score that stands for every target, (n, n_targets) for one of each.

    Raises:
        CommandError: The command cannot be run, fails, hangs, or does not give one finite score for each sample.
        StoreError: The images cannot be written.
    """
    command.check()
    with tempfile.TemporaryDirectory(prefix="agiqa-external-") as name:
        folder = Path(name)
        files = {"input": folder / "input.csv", "output": folder / "output.csv"}
        write_table(files["input"], [samples], context)
        if train:
            files |= {part: folder / f"{part}.csv" for part in ("train", "validation")}
            write_table(files["train"], train, context, mos=True)
            write_table(files["validation"], validation, context, mos=True)
        command.run(files, folder, context.progress)
        return read_scores(command, files["output"], _ids(samples), samples.targets)


def write_table(path: Path, parts: Sequence[Samples], context: Context, *, mos: bool = False) -> None:
    """Write the table of samples for a command, and their images where they are not written yet.

    Args:
        path: The file.
        parts: Its rows, one part after the other; the id of a row is its number in the data set.
        context: Told the progress of writing images.
        mos: Whether to write the ratings too.

    Raises:
        StoreError: The images cannot be written.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*INPUT_COLUMNS, *(f"mos_{target}" for target in context.targets if mos)])
        for samples in parts:
            images = png_files(samples, context.progress)
            ratings = samples.mos.tolist() if mos else [[]] * len(samples)
            rows = zip(_ids(samples), images, samples.prompts, samples.generators, ratings, strict=True)
            writer.writerows([*row, *rated] for *row, rated in rows)


def read_scores(command: Command, path: Path, ids: Sequence[str], targets: Sequence[str]) -> Scores:
    """Read what a command has written, in the order of `ids`.

    Args:
        command: That was to write it, for messages.
        path: The file.
        ids: Of the rows that were to be scored.
        targets: Names of the targets.

    Returns:
        float64 (n,) from a column `score`, or (n, n_targets) from `score_<target>` columns.

    Raises:
        CommandError: There is no such file, or it does not hold one finite score for each id.
    """
    header, rows = _read_table(command, path)
    each = [f"score_{target}" for target in targets]
    columns = each if "score" not in header else ["score"]
    if "id" not in header or not set(columns) <= set(header) or len(set(header)) < len(header):
        wanted = f"id and score (or id, {', '.join(each)})"
        command.fail(f"wrote a table with the columns {', '.join(header) or '(none)'}; it must have {wanted}")
    found: dict[str, list[str]] = {}
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            command.fail(f"wrote a table whose row {number} has {len(row)} cells where the header has {len(header)}")
        cells = dict(zip(header, map(str.strip, row), strict=True))
        if cells["id"] in found:
            command.fail(f"wrote the id {cells['id']} twice; it must write each id of its input once")
        found[cells["id"]] = [cells[column] for column in columns]
    missing, unknown = [name for name in ids if name not in found], sorted(found.keys() - set(ids))
    if missing:
        command.fail(
            f"scored {len(ids) - len(missing)} of {len(ids)} images (no score for {_some(missing)}); it must write one "
            "row for each id of its input"
        )
    if unknown:
        command.fail(f"wrote ids that its input does not have ({_some(unknown)}); leave them out")
    scores = np.array([[_number(command, name, text) for text in found[name]] for name in ids], dtype=np.float64)
    scores = scores.reshape(len(ids), len(columns))
    return scores[:, 0] if columns == ["score"] else scores


def _read_table(command: Command, path: Path) -> tuple[list[str], list[list[str]]]:
    if not path.is_file():
        command.fail("wrote no output; it must write a CSV with the columns id and score to {output}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file, strict=True) if row]
    except UnicodeDecodeError as error:
        command.fail(f"wrote a table that is not UTF-8 text (byte {error.start})")
    except csv.Error as error:
        command.fail(f"wrote a table that is no CSV ({error})")
    return ([cell.strip() for cell in rows[0]], rows[1:]) if rows else ([], [])


def _number(command: Command, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        command.fail(f"wrote the score '{text}' for id {name}, which is not a number; every image needs a number")
    if not math.isfinite(value):
        command.fail(f"wrote the score {text} for id {name}, which is not finite; every image needs a finite number")
    return value


def _ids(samples: Samples) -> list[str]:
    return [str(row) for row in samples.rows]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"id {', '.join(names[:_NAMED])}{more}"
