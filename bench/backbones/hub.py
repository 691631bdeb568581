"""Published models of the Hugging Face Hub: files from the cache or downloaded with an announcement, models from files.

A model is three files: `config.json`, the weights (`model.safetensors`, else `pytorch_model.bin`) and `tokenizer.json`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from agiqa_bench.backbones.checkpoint import file_digest, inspect, one_line
from agiqa_bench.backbones.fetch import download_weights, find_weights
from agiqa_bench.errors import DownloadError, WeightsUnavailableError
from agiqa_bench.method import Context, Method, MethodConfig, Weights
from agiqa_bench.offline import is_offline

if TYPE_CHECKING:
    import torch

CONFIG, TOKENIZER, WEIGHTS = "config.json", "tokenizer.json", ("model.safetensors", "pytorch_model.bin")

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class HubModel:
    """The files of a model.

    Attributes:
        name: Its name in tables: the repository, of a local folder its last part.
        config: Its configuration, JSON.
        weights: Its weights.
        tokenizer: Its tokenizer as one JSON file of the library `tokenizers`.
    """

    name: str
    config: Path
    weights: Path
    tokenizer: Path

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the three files' digests."""
        return file_digest(self.config, self.weights, self.tokenizer)


class HubConfig(MethodConfig):
    """Which weights; a method gives the repository of the published ones as default."""

    weights: str


class HubMethod(Method):
    """A zero-shot method by a published model of the library `transformers`.

    Class data:
        architecture: Name of the model's class in `transformers`.
        size: Of the published weights, for messages.
        padding: The token that prompts are filled up with.
        tokens: Length that prompts are cut at and filled up to; 0 stands for the model's context length.
        tokenizer: Repository with the tokenizer of the published weights, where theirs has none.
    """

    architecture: ClassVar[str]
    size: ClassVar[str]
    padding: ClassVar[str]
    tokens: ClassVar[int] = 0
    tokenizer: ClassVar[str] = ""

    @classmethod
    def skip(cls, config: MethodConfig, context: Context) -> str | None:  # noqa: ARG003
        """It needs the library transformers, and weights; a quick comparison does not fetch gigabytes for one row."""
        assert isinstance(config, HubConfig)
        if not config.weights:
            return (
                f"the quick preset fetches no weights ({cls.size}): --preset paper, or --set {cls.name}.weights=FOLDER"
            )
        return None if find_spec("transformers") else "needs the package transformers: type 'pip install transformers'"

    @classmethod
    def weights(cls, config: MethodConfig, context: Context) -> tuple[Weights, ...]:
        """The model that `config` names, fetched if it may be.

        Raises:
            WeightsUnavailableError: It is not here and cannot be fetched; there is no stand-in.
        """
        found = cls._files(config, context)
        return (Weights(found.name, found.digest),)

    def prepare(self) -> None:
        """Load model and tokenizer."""
        import transformers

        files = self._files(self.config, self.context)
        self._model: Any = load_model(getattr(transformers, self.architecture), files, self.context.device)
        length = self.tokens or self._model.config.text_config.max_position_embeddings
        self._tokenizer: Any = load_tokenizer(files, length, self.padding)

    @classmethod
    def _files(cls, config: MethodConfig, context: Context) -> HubModel:
        assert isinstance(config, HubConfig)
        published = config.weights == cls.Config.model_fields["weights"].default
        return find_model(
            config.weights,
            offline=context.offline,
            setting=f"{cls.name}.weights",
            tokenizer=cls.tokenizer if published else "",
        )


def find_model(place: str, *, offline: bool, setting: str, tokenizer: str = "") -> HubModel:
    """Find the files of a model, fetched if they may be.

    Args:
        place: A repository of the Hub, `owner/name`, or a local folder.
        offline: Never touch the network.
        setting: Name of the setting that holds `place`, for messages.
        tokenizer: Repository with the tokenizer, where `place` is a repository that has none of its own.

    Raises:
        WeightsUnavailableError: A file is not here and cannot be fetched; there is no stand-in.
    """
    folder = Path(place).expanduser()
    if folder.is_dir():
        weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), folder / WEIGHTS[0])
        files = folder / CONFIG, weights, folder / TOKENIZER
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            raise WeightsUnavailableError(f"{setting}: the folder {folder} lacks {', '.join(missing)}")
        return HubModel(folder.resolve().name, *files)
    if not _REPOSITORY.fullmatch(place):
        raise WeightsUnavailableError(f"{setting} = '{place}': there is no such folder, and it is no name on the Hub")
    advice = f"run once with the network, or give a folder with the files: --set {setting}=FOLDER"
    config, found = (hub_file(place, names, offline=offline, advice=advice) for names in ((CONFIG,), WEIGHTS))
    vocabulary = hub_file(tokenizer or place, (TOKENIZER,), offline=offline, advice=advice)
    return HubModel(place, config, found, vocabulary)


def hub_file(repository: str, names: tuple[str, ...], *, offline: bool, advice: str) -> Path:
    """A file of a repository, fetched if it may be.

    Args:
        repository: `owner/name`.
        names: What it may be called there, best first.
        offline: Never touch the network.
        advice: What to do where it cannot be had.

    Raises:
        WeightsUnavailableError: It is not in the cache and cannot be fetched.
    """
    sources = [{"hf_hub": f"{repository}/{name}"} for name in names]
    for source in sources:
        found = find_weights(source)
        if found is not None:
            return found
    missing = f"{names[0]} of {repository} is not in the cache"
    if is_offline(offline):
        raise WeightsUnavailableError(f"{missing}, and the network is off: {advice}")
    reasons = []
    for source in sources:
        try:
            return download_weights(repository, source)
        except DownloadError as error:
            reasons.append(str(error))
    raise WeightsUnavailableError(f"{missing}, and cannot be fetched ({'; '.join(dict.fromkeys(reasons))}): {advice}")


def load_model(architecture: Any, files: HubModel, device: str) -> Any:
    """Build a model of the library `transformers` with its weights: float32, frozen, in evaluation mode.

    Nothing is unpickled, no code of the repository is run, and no tensor stays as it was drawn.

    Args:
        architecture: The model's class, e.g. `transformers.CLIPModel`.
        files: From `find_model`.
        device: torch device string.

    Raises:
        WeightsUnavailableError: The files do not fit the class or each other.
    """
    refused = f"{files.name} ({files.weights}) is no {architecture.__name__}"
    try:
        model = architecture(architecture.config_class.from_json_file(files.config))
        result = model.load_state_dict(_tensors(files.weights), strict=False)
    except (RuntimeError, TypeError, ValueError, LookupError, OSError) as error:
        raise WeightsUnavailableError(f"{refused}: {one_line(error)}") from error
    # Buffers that count positions were saved by old versions of the library.
    surplus = [name for name in result.unexpected_keys if not name.endswith("position_ids")]
    for names, what in ((result.missing_keys, "missing"), (surplus, "surplus")):
        if names:
            more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            raise WeightsUnavailableError(f"{refused}: {names[0]}{more} is {what}")
    return model.float().eval().requires_grad_(False).to(device)


def load_tokenizer(files: HubModel, length: int, padding: str) -> Any:
    """The tokenizer of a model, which cuts and pads every text to `length` tokens.

    Args:
        files: From `find_model`.
        length: Number of tokens.
        padding: The token to pad with; number 0 where the vocabulary has none of that name.

    Returns:
        A `tokenizers.Tokenizer`.

    Raises:
        WeightsUnavailableError: The file is damaged.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(files.tokenizer))
    except Exception as error:  # the library raises nothing more special
        raise WeightsUnavailableError(f"{files.tokenizer} is no tokenizer: {one_line(error)}") from error
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length, pad_id=tokenizer.token_to_id(padding) or 0, pad_token=padding)
    return tokenizer


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    inspect(path)  # says in one line what is wrong with a file
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        tensors: dict[str, torch.Tensor] = load_file(path)
        return tensors
    import torch

    content: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return content
