"""A run that is killed at random moments, again and again, ends with the table of a run that nobody disturbed.

    python tests/sudden_death.py --kills 100 --minutes 20

First the demo run is done undisturbed. Then it is started in another folder with a cache of its own and killed with
SIGKILL at a moment drawn from what it should still take: the command alone and its whole group of processes in turns.
It is started again until it ends by itself; then all is looked at, and another folder begins, until there were so many
kills. The exit code is 0 only if

- `table.csv` is that of the undisturbed run, byte for byte, and so is each cell's `predictions.parquet`;
- each cell that a kill found finished is the same folder with the same files (inode and time) ever after: nothing is
  lost, nothing is computed twice;
- what the commands say that they computed is no more than there are cells;
- no hidden temporary, lock or scratch file is left, and no process is alive that a killed command had started.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

METHODS = "clip_agiqa_tang,hypernet,cnniqa,brisque,clipscore,generator_mean"
REPEATS = 2
START_SHARE = 0.3
"""Of the time of an undisturbed run, what a start and the tables take when no cell is left to be computed."""

SETTLE_SECONDS = 20.0
"""Workers notice within moments that their parent is gone; a busy machine may take longer."""

Seen = dict[str, tuple[int, int]]
"""Inode and time of change of files, by their path in the output folder."""


@dataclass
class Account:
    """What has happened so far."""

    kills: int = 0
    rounds: int = 0
    starts: int = 0
    continued: int = 0
    faults: list[str] = field(default_factory=list)


class Run:
    """The command on one folder, which can be killed and started again."""

    def __init__(self, folder: Path, jobs: int, methods: str, repeats: int, compiled: Path) -> None:
        """Point at an empty folder of its own.

        Args:
            folder: For the output, the cache and the log.
            jobs: `--jobs`.
            methods: `--methods`.
            repeats: `--repeats`.
            compiled: Folder for compiled modules: without it a start takes as long as all the training.
        """
        folder.mkdir(parents=True)
        self.output, self.log, self.mark = folder / "out", folder / "log", f"sudden-death-{folder}"
        self._words = [str(Path(sys.executable).with_name("agiqa-bench")), "run", "--dataset", "demo"]
        self._words += ["--methods", methods, "--repeats", str(repeats), "--jobs", str(jobs), "--offline"]
        self._words += ["--output", str(self.output)]
        self._environment = os.environ | {
            "AGIQA_CACHE": str(folder / "cache"),
            "AGIQA_CHECKPOINT_SECONDS": "0",
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONPYCACHEPREFIX": str(compiled),
            "TMPDIR": str(folder),
            "SUDDEN_DEATH": self.mark,
        }

    def start(self) -> subprocess.Popen[bytes]:
        """Begin, or go on, as the leader of a group of processes."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self._words,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )

    def finished(self) -> Seen:
        """The files of all finished cells."""
        return self._files("cells/*/[0-9]*/*")

    def cells(self) -> list[Path]:
        """The finished cells."""
        return list(self.output.glob("cells/*/[0-9]*/cell.json"))

    def epochs(self) -> Seen:
        """What is written down of trainings that are not over."""
        return self._files("scratch/*/*/*.pt")

    def leftovers(self) -> list[str]:
        """What should not be there once a run has ended by itself."""
        hidden = [path for path in self.output.rglob(".*") if path.name.endswith(".tmp") or path.name == ".writable"]
        return [str(path.relative_to(self.output)) for path in [*hidden, *self._in("scratch"), *self._in("locks")]]

    def alive(self) -> list[int]:
        """Processes that were started by the command and have not ended; those that nobody has waited for have."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                environment = (folder / "environ").read_bytes()
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:  # gone, or somebody else's
                continue
            if f"SUDDEN_DEATH={self.mark}\0".encode() in environment and state not in "ZX":
                found.append(int(folder.name))
        return found

    def computed(self) -> int:
        """Cells that the commands on the folder say they have computed, those of killed commands aside."""
        plans = [json.loads(file.read_text("utf-8")) for file in self.output.glob("plans/*.json")]
        return sum(plan["outcome"]["computed"] for plan in plans if "outcome" in plan)

    def _in(self, name: str) -> list[Path]:
        return [path for path in (self.output / name).rglob("*") if path.is_file()]

    def _files(self, pattern: str) -> Seen:
        found: Seen = {}
        for path in sorted(self.output.glob(pattern)):
            try:
                facts = path.stat()
            except FileNotFoundError:
                continue
            found[str(path.relative_to(self.output))] = (facts.st_ino, facts.st_mtime_ns)
        return found


def die_and_go_on(
    run: Run, seconds: float, cells: int, kills: int, until: float, draws: random.Random, account: Account
) -> None:
    """Start a run again and again, killing it, until it ends by itself.

    Args:
        run: On an empty folder.
        seconds: What it takes undisturbed.
        cells: How many it stores.
        kills: How many there are to be in all; the run is left alone after the last one.
        until: When (`time.monotonic`) the last one is to happen.
        draws: Of the moments.
        account: Is kept.
    """
    kept: Seen = {}
    while True:
        written = run.epochs()
        left = seconds * max(START_SHARE, 1 - len(run.cells()) / cells)
        process = run.start()
        account.starts += 1
        account.continued += bool(written)
        started = time.monotonic()
        share = 2 * (until - started) / max(1, kills - account.kills)
        moment = draws.uniform(0, min(left, max(share, 1.0))) if account.kills < kills else None
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            whole_group = account.kills % 2 == 0
            (os.killpg if whole_group else os.kill)(process.pid, signal.SIGKILL)
            process.wait()
            account.kills += 1
        _wait_for_death(run, account)
        now = run.finished()
        for name, facts in kept.items():
            if now.get(name) != facts:
                account.faults.append(
                    f"{run.output}: {name} was finished and is {'changed' if name in now else 'lost'}"
                )
        kept = now
        if process.returncode >= 0:
            if process.returncode:
                account.faults.append(f"exit code {process.returncode}: {_end_of(run.log)}")
            return


def compare(run: Run, undisturbed: Run, account: Account) -> None:
    """Look whether a run that has ended has left what an undisturbed one has, and nothing else."""
    names = ["table.csv", *(name for name in undisturbed.finished() if name.endswith(".parquet"))]
    for name in names:
        found, wanted = run.output / name, undisturbed.output / name
        if not found.is_file():
            account.faults.append(f"{found} is missing")
        elif found.read_bytes() != wanted.read_bytes():
            account.faults.append(f"{found} differs from {wanted}")
    surplus = run.finished().keys() - undisturbed.finished().keys()
    account.faults += [f"{run.output}: {name} is there, and not after an undisturbed run" for name in sorted(surplus)]
    account.faults += [f"{run.output}: {name} is left over" for name in run.leftovers()]
    cells = len(undisturbed.cells())
    if run.computed() > cells:
        account.faults.append(f"{run.output}: {run.computed()} cells were computed where there are {cells}")


def _wait_for_death(run: Run, account: Account) -> None:
    deadline = time.monotonic() + SETTLE_SECONDS
    while alive := run.alive():
        if time.monotonic() > deadline:
            account.faults.append(f"{run.output}: processes {alive} outlived their command")
            for process in alive:
                os.kill(process, signal.SIGKILL)
        time.sleep(0.05)


def _end_of(log: Path) -> str:
    return " ".join(re.sub(r"\s+", " ", log.read_text("utf-8", "replace")).split()[-60:])


def put_to_death(
    folder: Path, kills: int, minutes: float, seed: int, jobs: int, methods: str = METHODS, repeats: int = REPEATS
) -> Account:
    """Do what this module says in an empty folder, and give the account; no fault in it means that all went well."""
    account, draws = Account(), random.Random(seed)
    compiled = Path(os.environ.get("PYTHONPYCACHEPREFIX") or folder / "compiled")
    undisturbed = Run(folder / "undisturbed", jobs, methods, repeats, compiled)
    began = time.monotonic()
    if undisturbed.start().wait():
        raise RuntimeError(f"the undisturbed run failed: {_end_of(undisturbed.log)}")
    seconds, cells = time.monotonic() - began, len(undisturbed.cells())
    until = time.monotonic() + 60 * minutes
    while account.kills < kills:
        account.rounds += 1
        run = Run(folder / f"round-{account.rounds}", jobs, methods, repeats, compiled)
        die_and_go_on(run, seconds, cells, kills, until, draws, account)
        compare(run, undisturbed, account)
        if account.faults:
            break
        shutil.rmtree(run.output.parent)
    return account


def main() -> int:
    """Read the command line, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=20.0, help="kills come earlier if time gets short")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    asked = parser.parse_args()
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="sudden-death-"))
    account = put_to_death(folder, asked.kills, asked.minutes, asked.seed, asked.jobs, asked.methods, asked.repeats)
    for fault in account.faults:
        sys.stdout.write(f"{fault}\n")
    sys.stdout.write(
        f"{account.kills} kills, {account.starts} starts, {account.rounds} runs that reached their end, "
        f"{account.continued} starts that went on within a training, {len(account.faults)} faults, "
        f"{time.monotonic() - began:.0f} s\n"
    )
    if account.faults:
        sys.stdout.write(f"what was left is in {folder}\n")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
