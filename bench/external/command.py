"""Running a command of the user's: its words, its environment, its time limit, its end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn

from agiqa_bench.errors import PredictionError
from agiqa_bench.method import Context
from agiqa_bench.offline import SWITCHES

PLACES = ("input", "output", "train", "validation")
"""What may stand in braces in a command; one that names none of them gets the files as last arguments."""

GRACE_SECONDS = 5.0
"""How long a command that is told to end (SIGTERM) has to do so before it is made to (SIGKILL)."""

_POLL_SECONDS = 0.05
_KEPT_BYTES = 20_000
"""How much of the end of its output a failure record keeps."""

_SHOWN = 100
"""Letters of a command in a message."""


class CommandError(PredictionError):
    """A command could not be run, failed, hung, or gave scores that are none; the record keeps what it printed."""


@dataclass(frozen=True)
class Command:
    """A command of a method.

    Attributes:
        method: Registry name, for messages.
        text: The command as the user wrote it, for messages.
        words: The program and its arguments; `{input}` and the like stand for files.
        timeout_s: Seconds after which it is ended.
        environment: Variables that it gets beside those of this process.
        without: Variables of this process that it does not get.
    """

    method: str
    text: str
    words: tuple[str, ...]
    timeout_s: float
    environment: Mapping[str, str]
    without: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = " ".join(self.text.split())
        return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."

    def fail(self, what: str, *notes: str) -> NoReturn:
        """Raise the error that names the method and the command.

        Args:
            what: What is wrong and what to do, in one line.
            notes: More for the failure record.

        Raises:
            CommandError: Always.
        """
        error = CommandError(f"method '{self.method}': the command `{self}` {what}")
        for note in notes:
            error.add_note(note)
        raise error

    def check(self) -> None:
        """Refuse a program that is not there, before any work is done for it.

        Raises:
            CommandError: It is not there, or may not be run.
        """
        program = self.words[0]
        if shutil.which(program) is None:
            if Path(program).is_file():
                self.fail(f"cannot be run: {program} is not executable; put its interpreter in front, or chmod +x it")
            self.fail(f"was not found: there is no program {program}; check its name, or give its full path")

    def run(self, files: Mapping[str, Path], folder: Path, progress: Callable[[int, int, str], None]) -> None:
        """Run it and wait for its end; whatever it started in its group of processes is ended with it.

        Args:
            files: What the words in braces stand for; a command that holds none of them gets them as last arguments.
            folder: A folder of its own for what it prints.
            progress: Called for each line `progress DONE TOTAL` that it prints.

        Raises:
            CommandError: It cannot be started, its exit code is not 0, or it ran past its time limit.
        """
        self.check()
        inherited = {name: value for name, value in os.environ.items() if name not in self.without}
        printed, complained = folder / "stdout.txt", folder / "stderr.txt"
        with printed.open("wb") as output, complained.open("wb") as errors:
            try:
                process = subprocess.Popen(
                    filled(self.words, files),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=errors,
                    env=inherited | {"PYTHONUNBUFFERED": "1"} | dict(self.environment),
                    start_new_session=True,
                )
            except OSError as error:
                self.fail(f"cannot be run: {error.strerror or error}; put its interpreter in front, e.g. sh or python")
        with _ended_with_its_group(process), printed.open("rb") as lines:
            in_time = _wait(process, self.timeout_s, lambda: _tell(lines, progress, self.method))
            _tell(lines, progress, self.method)
        notes = [f"{name} (its end):\n{_tail(file)}" for name, file in (("stdout", printed), ("stderr", complained))]
        if not in_time:
            self.fail(f"was ended after {self.timeout_s:g} s: mend it, or raise {self.method}.timeout_s", *notes)
        if process.returncode:
            last = _last_line(complained) or _last_line(printed) or "it printed nothing"
            self.fail(f"{_ending(process.returncode)}: {last}", *notes)


def environment_of(context: Context) -> dict[str, str]:
    """Variables that tell a command about the run: device, precision, seed, and whether the network is off."""
    variables = {
        "AGIQA_DEVICE": context.device,
        "AGIQA_PRECISION": context.precision,
        "AGIQA_SEED": str(context.seed),
    }
    if context.offline:
        variables.update(SWITCHES)
    return variables


def filled(words: tuple[str, ...], files: Mapping[str, Path]) -> list[str]:
    """The words with each `{name}` replaced; without any `{name}` the files are added behind, in their order.

    >>> filled(("sh", "score.sh", "--out={output}", "{input}"), {"input": Path("a"), "output": Path("b")})
    ['sh', 'score.sh', '--out=b', 'a']
    >>> filled(("./score",), {"input": Path("a"), "output": Path("b")})
    ['./score', 'a', 'b']
    """
    if not places_in(words):
        return [*words, *map(str, files.values())]
    done = list(words)
    for name, path in files.items():
        done = [word.replace(f"{{{name}}}", str(path)) for word in done]
    return done


def places_in(words: Iterable[str]) -> set[str]:
    """The files that the words ask for by their names in braces, of `PLACES`."""
    return {name for name in PLACES for word in words if f"{{{name}}}" in word}


@contextmanager
def _ended_with_its_group(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End a process, and all that it started in its group, however the block ends; Ctrl-C included."""
    try:
        yield
    finally:
        if process.poll() is None:
            _signal(process, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_SECONDS)
        # A process in the background may outlive the one that started it.
        _signal(process, getattr(signal, "SIGKILL", signal.SIGTERM))
        process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal to the group that the process leads; where there are no groups, to the process."""
    if not hasattr(os, "killpg"):
        process.send_signal(number)
        return
    with suppress(ProcessLookupError, PermissionError):  # nobody is left in it
        os.killpg(process.pid, number)


def _wait(process: subprocess.Popen[bytes], timeout: float, look: Callable[[], None]) -> bool:
    """Wait for the end of a process, looking after its progress; False if the time is over before."""
    deadline = time.monotonic() + timeout
    while True:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_POLL_SECONDS)
            return True
        if time.monotonic() > deadline:
            return False
        look()


def _tell(lines: BinaryIO, progress: Callable[[int, int, str], None], what: str) -> None:
    """Report the last of the new lines that tells progress; a line that is not complete is read again later."""
    place = lines.tell()
    text = lines.read()
    whole = text.rfind(b"\n") + 1
    lines.seek(place + whole)
    for line in reversed(text[:whole].splitlines()):
        words = line.split()
        if len(words) == 3 and words[0] == b"progress" and words[1].isdigit() and words[2].isdigit():
            progress(int(words[1]), int(words[2]), what)
            return


def _tail(file: Path) -> str:
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - _KEPT_BYTES))
        return stream.read().decode("utf-8", errors="replace").strip() or "(nothing)"


def _last_line(file: Path) -> str:
    lines = _tail(file).splitlines()
    return "" if lines[-1] == "(nothing)" else lines[-1].strip()[:300]


def _ending(code: int) -> str:
    if code > 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " (out of memory?)" if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"
