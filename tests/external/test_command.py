"""Running commands: progress, failures, time limits, and that nothing is left running."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agiqa_bench.external import command as module
from agiqa_bench.external.command import Command, CommandError, environment_of
from agiqa_bench.method import Context

Run = Callable[..., list[tuple[int, int, str]]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def call(*words: str, timeout: float = 20, **environment: str) -> list[tuple[int, int, str]]:
        steps: list[tuple[int, int, str]] = []
        command = Command("external", " ".join(words), words, timeout, environment)
        files = {"input": tmp_path / "in put.csv", "output": tmp_path / "output.csv"}
        command.run(files, tmp_path, lambda *step: steps.append(step))
        return steps

    return call


def refused(run: Run, *words: str, **options: float) -> CommandError:
    with pytest.raises(CommandError) as caught:
        run(*words, **options)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("method 'external': the command `")
    return caught.value


def test_words_in_braces_are_files_even_with_spaces_in_their_path(run: Run, tmp_path: Path) -> None:
    run("sh", "-c", 'printf %s "$1" > "$2"', "sh", "{input}", "{output}")
    assert (tmp_path / "output.csv").read_text() == str(tmp_path / "in put.csv")


def test_a_command_without_braces_gets_the_files_last(run: Run, tmp_path: Path) -> None:
    run("sh", "-c", 'printf "%s|%s" "$1" "$2" > "$2"', "sh")
    assert (tmp_path / "output.csv").read_text() == f"{tmp_path / 'in put.csv'}|{tmp_path / 'output.csv'}"


def test_the_environment_tells_device_precision_seed_and_network(run: Run, tmp_path: Path) -> None:
    context = Context(device="cuda:1", precision="bf16", seed=7, offline=True)
    run("sh", "-c", 'echo $AGIQA_DEVICE $AGIQA_PRECISION $AGIQA_SEED $AGIQA_OFFLINE $HF_HUB_OFFLINE > "$2"', "sh",
        **environment_of(context))  # fmt: skip
    assert (tmp_path / "output.csv").read_text() == "cuda:1 bf16 7 1 1\n"
    assert "AGIQA_OFFLINE" not in environment_of(Context())


def test_progress_lines_are_reported_and_others_are_not(run: Run) -> None:
    code = "print('loading'); print('progress 1 4', flush=True); import time; time.sleep(.3); print('progress 4 4')"
    assert run(sys.executable, "-c", f"{code}; print('progress x y')") == [(1, 4, "external"), (4, 4, "external")]


def test_what_is_not_there_or_cannot_be_run_is_said(run: Run, tmp_path: Path) -> None:
    assert "was not found: there is no program scorre" in str(refused(run, "scorre", "{input}"))
    script = tmp_path / "score.sh"
    script.write_text("true\n")
    assert "is not executable; put its interpreter in front" in str(refused(run, str(script)))
    script.chmod(0o755)
    script.write_bytes(b"\x00\x01\x02")
    assert "cannot be run: " in str(refused(run, str(script)))


def test_a_failure_tells_its_last_line_and_keeps_what_was_printed(run: Run) -> None:
    error = refused(run, sys.executable, "-c", "print('so far'); raise ValueError('no such model')")
    assert "ended with exit code 1: ValueError: no such model" in str(error)
    notes = "\n".join(error.__notes__)
    assert "so far" in notes
    assert "Traceback" in notes
    assert "ended with exit code 3: it printed nothing" in str(refused(run, "sh", "-c", "exit 3"))
    assert "was ended by SIGKILL (out of memory?)" in str(refused(run, "sh", "-c", "kill -9 $$"))


def gone(pid: int) -> bool:
    """Whether a process has ended, within a second."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").is_file() and ") Z" in Path(f"/proc/{pid}/stat").read_text():
                return True
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


# It, and one that it started in the background; both write their number, the second is deaf to SIGTERM.
FAMILY = 'echo $$ > "$2"; sh -c \'trap "" TERM; echo $$ >> "$1"; sleep 30; sleep 30\' sh "$2" & sleep 0.3; '


def test_a_hang_is_ended_with_all_that_it_started(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.2)
    started = time.monotonic()
    error = refused(run, "sh", "-c", f"{FAMILY} wait", "sh", timeout=1)
    assert "was ended after 1 s: mend it, or raise external.timeout_s" in str(error)
    assert time.monotonic() - started < 5
    pids = [int(line) for line in (tmp_path / "output.csv").read_text().split()]
    assert len(pids) == 2
    assert all(map(gone, pids))


def test_what_is_left_in_the_background_is_ended_too(run: Run, tmp_path: Path) -> None:
    run("sh", "-c", FAMILY, "sh")
    pids = [int(line) for line in (tmp_path / "output.csv").read_text().split()]
    assert len(pids) == 2
    assert all(map(gone, pids))


def test_ctrl_c_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.2)

    def stop(*step: object) -> None:
        raise KeyboardInterrupt

    command = Command("external", "x", ("sh", "-c", f"{FAMILY} echo progress 1 2; wait", "sh"), 20, {})
    with pytest.raises(KeyboardInterrupt):
        command.run({"input": tmp_path / "i", "output": tmp_path / "o"}, tmp_path, stop)
    assert all(gone(int(line)) for line in (tmp_path / "o").read_text().split())


def test_a_long_command_is_shortened_in_messages() -> None:
    command = Command("external", "score\n " + "x" * 500, ("score",), 1, {})
    assert len(str(command)) == 100
    assert str(command).startswith("score xxx")
