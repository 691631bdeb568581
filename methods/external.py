"""Methods behind a command: any language, any environment; the protocol is in `agiqa_bench.external.protocol`."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, field_validator

from agiqa_bench.backbones.checkpoint import file_digest
from agiqa_bench.data.samples import Samples
from agiqa_bench.errors import ConfigError
from agiqa_bench.external.command import Command, environment_of, places_in
from agiqa_bench.external.protocol import score
from agiqa_bench.method import Context, Method, MethodConfig, Scores, Weights


class CommandConfig(MethodConfig):
    """What to run and how to read its scores."""

    command: str = Field(
        default="", description="what to run, e.g. 'python score.py {input} {output}'; see the README for the tables"
    )
    label: str = Field(
        default="", coerce_numbers_to_str=True, description="its name in tables; by default that of its program"
    )
    higher_is_better: bool = Field(default=True, description="false for a measure of distortion: scores are negated")
    timeout_s: float = Field(default=86400, gt=0, description="seconds after which a call is ended")
    digest_files: tuple[str, ...] = Field(
        default=(),
        description="files that the scores depend on, such as weights, beside those that the command names; when one "
        "changes, scores are computed anew",
    )

    @field_validator("command")
    @classmethod
    def _can_be_split(cls, command: str) -> str:
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise ValueError(f"{error}; close the quotes") from error
        if command and not words:
            raise ValueError("it names no program")
        return command

    @property
    def words(self) -> tuple[str, ...]:
        """The command split as a shell would split it."""
        return tuple(shlex.split(self.command))

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the command names, in the text for `sh -c` too, its program if a script, `digest_files`.

        A program that is no script, such as an interpreter, belongs to the system and counts only if named by its path.
        """
        found = shutil.which(self.words[0]) if self.words else None
        script = [Path(found)] if found and _is_script(Path(found)) else []
        words = [part for word in self.words for part in (word, *_parts(word))]
        named = [Path(word) for word in words if _is_file(word)]
        return tuple(dict.fromkeys([*script, *named, *(Path(file).expanduser() for file in self.digest_files)]))

    @property
    def program(self) -> str:
        """A name for the command: the script behind an interpreter, else the program."""
        first, *others = self.words or ("",)
        script = next((word for word in others if not word.startswith("-")), "")
        return Path(first if not script or " " in script or places_in([script]) else script).name


def _parts(word: str) -> list[str]:
    """The words of a word that holds white space, such as the text behind `sh -c`; else none."""
    if len(word.split()) < 2:
        return []
    lexer = shlex.shlex(word, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        return list(lexer)
    except ValueError:  # quotes that are not closed: a sentence, or another language
        return word.split()


def _is_file(word: str) -> bool:
    try:
        return Path(word).is_file()
    except (OSError, ValueError):  # longer than a name may be, or with a null byte: text, and no path
        return False


def _is_script(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(2) == b"#!"
    except OSError:  # a program that may be run and not be read
        return False


class _CommandMethod(Method):
    """What both kinds share: each is skipped without a command, and named after it."""

    uses_prompt = True
    prompt_optional = True  # whether the command looks at prompts is its own affair
    groups = ("external",)
    example: ClassVar[str]

    Config = CommandConfig

    @classmethod
    def skip(cls, config: MethodConfig, context: Context) -> str | None:  # noqa: ARG003
        """Without a command there is nothing to run."""
        assert isinstance(config, CommandConfig)
        if config.command:
            return None
        return f"no command was given: write --methods \"{cls.name}[command='{cls.example}']\" (protocol in the README)"

    @classmethod
    def weights(cls, config: MethodConfig, context: Context) -> tuple[Weights, ...]:  # noqa: ARG003
        """The files that the command names, and `digest_files`: what its scores are known to depend on.

        Raises:
            ConfigError: One of `digest_files` does not exist, or the command asks for the wrong tables.
        """
        assert isinstance(config, CommandConfig)
        places = places_in(config.words)
        if places and not {"input", "output"} <= places:
            raise ConfigError(f"{cls.name}.command must name both {{input}} and {{output}}, or no table at all")
        if cls.trainable and places and "train" not in places:
            raise ConfigError(f"{cls.name}.command names no {{train}}: a method that learns nothing is 'external'")
        if not cls.trainable and places & {"train", "validation"}:
            raise ConfigError(f"{cls.name}.command asks for ratings to learn from: that is 'external_trained'")
        missing = [str(file) for file in config.files if not file.is_file()]
        if missing:
            raise ConfigError(f"{cls.name}.digest_files: there is no file {missing[0]}; check the path")
        if not config.files:
            return ()
        return (Weights(", ".join(file.name for file in config.files), file_digest(*config.files)),)

    @classmethod
    def row_name(cls, config: MethodConfig) -> str:
        """The setting `label`, or the program's name."""
        assert isinstance(config, CommandConfig)
        return config.label or config.program

    @classmethod
    def note(cls, config: MethodConfig, context: Context) -> str:  # noqa: ARG003
        """The command, and whether its scores are turned round."""
        assert isinstance(config, CommandConfig)
        return f"runs `{config.command}`" + ("" if config.higher_is_better else " and negates its scores")

    def call(self, samples: Samples, train: tuple[Samples, ...] = (), validation: tuple[Samples, ...] = ()) -> Scores:
        """Run the command; float64 (n,) or (n, n_targets), higher is better.

        Raises:
            CommandError: It fails, hangs, or does not give one finite score for each sample.
        """
        config, context = self.config, self.context
        command = Command(self.name, config.command, config.words, config.timeout_s, environment_of(context))
        scores = score(command, samples, context, train=train, validation=validation)
        return scores if config.higher_is_better else -scores


class External(_CommandMethod):
    """A zero-shot method behind a command, called once with a table of all images.

    One score stands for every target unless the command writes a column `score_<target>` for each. The time that it
    costs holds that of writing the images as PNG.
    """

    name = "external"
    title = "External"
    summary = "a command in any language: reads a table of images and prompts, writes scores"
    targets = ("*",)
    uses_prompt = True
    trainable = False
    groups = ("external",)
    example = "python score.py {input} {output}"

    def predict(self, samples: Samples) -> Scores:
        """Scores by the command, float64 (n,) or (n, n_targets).

        Raises:
            CommandError: It fails, hangs, or does not give one finite score for each sample.
        """
        return self.call(samples)


class ExternalTrained(_CommandMethod):
    """A trained method behind a command, called once for each repeat with tables to learn from and to score.

    A command that asks for `{train}` and not for `{validation}` learns from the validation part too. One that asks for
    both chooses its epoch by itself and is called once: it is not trained anew on both. What it has learnt is its own
    affair: such a model cannot be saved.
    """

    name = "external_trained"
    title = "External (trained)"
    summary = "a command in any language: learns from a table of rated images, writes scores of others"
    targets = ("*",)
    uses_prompt = True
    selects_epoch = True
    groups = ("external",)
    example = "python train_and_score.py {train} {input} {output}"

    @classmethod
    def chooses_epoch(cls, config: MethodConfig) -> bool:
        """Whether the command asks for a validation part, by name or because it names no table at all."""
        assert isinstance(config, CommandConfig)
        places = places_in(config.words)
        return not places or "validation" in places

    def fit(self, train: Samples, validation: Samples | None = None) -> Self:
        """Keep the samples for the call that trains and scores."""
        self._train: tuple[Samples, ...] = (train,)
        self._validation: tuple[Samples, ...] = () if validation is None else (validation,)
        return self

    def predict(self, samples: Samples) -> Scores:
        """Scores by the command after it has learnt, float64 (n,) or (n, n_targets).

        Raises:
            CommandError: It fails, hangs, or does not give one finite score for each sample.
        """
        return self.call(samples, self._train, self._validation)
