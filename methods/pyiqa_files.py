"""Which files each of pyiqa's no-reference metrics computes with, where pyiqa looks for them, and whence they come.

pyiqa names them nowhere but in the code of each network. The table holds what version 0.1.16 asks for, in its order
and with the backbones that it loads first and then overwrites; a test compares it with what pyiqa asks for.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from agiqa_bench.errors import DownloadError, WeightsUnavailableError

_PYIQA = "chaofengc/IQA-PyTorch-Weights"
_OPENAI = "https://openaipublic.azureedge.net/clip/models"
_FACES = "https://github.com/xinntao/facexlib/releases/download"
_SWIN = "https://github.com/SwinTransformer/storage/releases/download/v1.0.0"


@dataclass(frozen=True)
class WeightFile:
    """One file of weights, or a whole repository of the Hugging Face Hub.

    Attributes:
        name: Name of the file; empty for a repository.
        hub: Repository `owner/name` of the Hub; empty if it has none.
        url: Address, where there is no repository.
        kind: What the Hub calls the repository, `model` or `dataset`.
        folder: Where pyiqa looks, below torch's hub folder; empty for the Hub's own cache, `clip` elsewhere than below
            torch's folder for the package of that name.
    """

    name: str
    hub: str = ""
    url: str = ""
    folder: str = ""
    kind: str = "model"

    @property
    def label(self) -> str:
        """What to call it in messages."""
        return self.name if self.folder else "/".join(filter(None, (self.hub, self.name)))

    @property
    def target(self) -> Path | None:
        """The file that pyiqa, or the library below it, reads; None if that is the Hub's cache."""
        if not self.folder:
            return None
        if self.folder == _CLIP_PACKAGE:
            from agiqa_bench.backbones.fetch import cache_folder

            return cache_folder() / self.name
        # pyiqa takes the name from the address, where a plus sign is written %2B.
        return torch_hub() / self.folder / (quote(self.name) if self.hub else self.name)

    @property
    def source(self) -> dict[str, str]:
        """The same as `agiqa_bench.backbones.fetch` takes it."""
        return {"hf_hub": f"{self.hub}/{self.name}"} if self.hub else {"url": self.url}


_CLIP_PACKAGE = "~clip"

_IN_SNAPSHOTS = {"model": ("config.json", "tokenizer_config.json"), "dataset": ("README.md",)}
"""Files of which a repository that has been fetched has at least one, by its kind."""


def torch_hub() -> Path:
    """The hub folder of torch, as `torch.hub.get_dir()` without importing torch."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("TORCH_HOME") or Path(cache) / "torch").expanduser() / "hub"


def _own(*names: str) -> tuple[WeightFile, ...]:
    return tuple(WeightFile(name, hub=_PYIQA, folder="pyiqa") for name in names)


def _torchvision(name: str) -> WeightFile:
    return WeightFile(name, url=f"https://download.pytorch.org/models/{name}", folder="checkpoints")


def _timm(model: str) -> WeightFile:
    return WeightFile("model.safetensors", hub=f"timm/{model}")


def _openai(name: str, digest: str, folder: str) -> WeightFile:
    return WeightFile(name, url=f"{_OPENAI}/{digest}/{name}", folder=folder)


def _repository(name: str) -> tuple[WeightFile, ...]:
    return (WeightFile("", hub=name),)


_RN50 = _openai("RN50.pt", "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762", "clip")
_B32 = ("ViT-B-32.pt", "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af")
_L14 = ("ViT-L-14.pt", "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836")
_RESNET50 = _timm("resnet50.a1_in1k")
_INCEPTION = _timm("inception_resnet_v2.tf_in1k")
_VIT = _timm("vit_base_patch8_224.augreg2_in21k_ft_in1k")
_SWIN_B = WeightFile(
    "swin_base_patch4_window12_384_22kto1k.pth",
    url=f"{_SWIN}/swin_base_patch4_window12_384_22kto1k.pth",
    folder="checkpoints",
)
_FACE = (
    WeightFile("detection_Resnet50_Final.pth", url=f"{_FACES}/v0.1.0/detection_Resnet50_Final.pth", folder="pyiqa"),
    WeightFile("parsing_parsenet.pth", url=f"{_FACES}/v0.2.2/parsing_parsenet.pth", folder="pyiqa"),
)
_ARNIQA = (
    _torchvision("resnet50-0676ba61.pth"),
    WeightFile("ARNIQA.pth", hub=_PYIQA, folder="checkpoints"),
)
_QUALICLIP = (_RN50, *_own("QualiCLIP.pth"))

FILES: dict[str, tuple[WeightFile, ...]] = {
    "piqe": (),
    "entropy": (),
    "niqe": _own("niqe_modelparameters.mat"),
    "niqe_matlab": _own("niqe_matlab_params.mat"),
    "ilniqe": _own("ILNIQE_templateModel.mat"),
    "brisque": _own("brisque_svm_weights.pth"),
    "brisque_matlab": _own("brisque_matlab.mat"),
    "nrqm": _own("NRQM_model.mat"),
    "pi": _own("NRQM_model.mat", "niqe_modelparameters.mat"),
    "cnniqa": _own("CNNIQA_koniq10k-e6f14c91.pth"),
    "musiq": _own("musiq_koniq_ckpt-e95806b9.pth"),
    "musiq-ava": _own("musiq_ava_ckpt-e8d3f067.pth"),
    "musiq-paq2piq": _own("musiq_paq2piq_ckpt-364c0c84.pth"),
    "musiq-spaq": _own("musiq_spaq_ckpt-358bb6af.pth"),
    "nima": (_INCEPTION, *_own("NIMA_InceptionV2_ava-b0c77c00.pth")),
    "nima-koniq": (_INCEPTION, *_own("NIMA_koniq-250367ae.pth")),
    "nima-spaq": (_INCEPTION, *_own("NIMA-spaq-46a7fcb7.pth")),
    "nima-vgg16-ava": (_timm("vgg16.tv_in1k"), *_own("NIMA_VGG16_ava-dc4e8265.pth")),
    "paq2piq": (_torchvision("resnet18-f37072fd.pth"), *_own("P2P_RoIPoolModel-fit.10.bs.120-ca69882e.pth")),
    "dbcnn": (
        _torchvision("vgg16-397923af.pth"),
        *_own("DBCNN_scnn-7ea73d75.pth", "DBCNN_KonIQ10k-2de81c0a.pth"),
    ),
    "maniqa": (_VIT, *_own("ckpt_koniq10k.pt")),
    "maniqa-kadid": (_VIT, *_own("ckpt_kadid10k.pt")),
    "maniqa-pipal": (_VIT, *_own("MANIQA_PIPAL-ae6d356b.pth")),
    "clipiqa": (_RN50,),
    "clipiqa+": (_RN50, *_own("CLIP-IQA+_learned_prompts-603f3273.pth")),
    "clipiqa+_rn50_512": (_RN50, *_own("CLIPIQA+_RN50_512-89f5d940.pth")),
    "clipiqa+_vitL14_512": (_openai(*_L14, "clip"), *_own("CLIPIQA+_ViTL14_512-e66488f2.pth")),
    "fgresq": (*_repository("openai/clip-vit-base-patch16"), *_own("FGResQ_Degradation.pth", "FGResQ.pth")),
    "tres": (_torchvision("resnet50-0676ba61.pth"), *_own("tres_koniq-f0502926.pth")),
    "tres-flive": (_torchvision("resnet50-0676ba61.pth"), *_own("tres_flive-09b0de5b.pth")),
    "hyperiqa": (_RESNET50, *_own("HyperIQA-resnet50-koniq10k-c96c41b1.pth")),
    "metaiqa": _own("Metaiqa_livec.pth"),
    "uranker": _own("URanker_ckpt-450eb36d.pth"),
    "clipscore": (_openai(*_B32, _CLIP_PACKAGE),),
    "topiq_nr": (_RESNET50, *_own("cfanet_nr_koniq_res50-9a73138b.pth")),
    "topiq_nr-flive": (_RESNET50, *_own("cfanet_nr_flive_res50-ded1c74e.pth")),
    "topiq_nr-spaq": (_RESNET50, *_own("cfanet_nr_spaq_res50-a7f799ac.pth")),
    "topiq_nr-face": (_RESNET50, *_own("topiq_nr_cgfiqa_res50-0a8b8e4f.pth"), *_FACE),
    "topiq_nr-face-v1": (_RESNET50, *_own("topiq_nr_gfiqa_res50-d76bf1ae.pth"), *_FACE),
    "topiq_nr_swin-face": (_SWIN_B, *_own("topiq_nr_gfiqa_swin-7bb80a60.pth"), *_FACE),
    "topiq_iaa": (_SWIN_B, *_own("cfanet_iaa_ava_swin-393b41b4.pth")),
    "topiq_iaa_res50": (_RESNET50, *_own("cfanet_iaa_ava_res50-3cd62bb3.pth")),
    "laion_aes": (_openai(*_L14, _CLIP_PACKAGE), *_own("sac+logos+ava1-l14-linearMSE.pth")),
    "liqe": (_openai(*_B32, "clip"), *_own("liqe_koniq.pt")),
    "liqe_mix": (_openai(*_B32, "clip"), *_own("liqe_mix.pt")),
    "wadiqam_nr": _own("WaDIQaM-NR-koniq-aaffea29.pth"),
    "qalign": _repository("q-future/one-align"),
    "qalign_8bit": _repository("q-future/one-align"),
    "qalign_4bit": _repository("q-future/one-align"),
    "qrealign": _repository("q-future/Q-ReAlign-Mini-0.8B"),
    "qrealign-mini": _repository("q-future/Q-ReAlign-Mini-0.8B"),
    "qrealign-lite": _repository("q-future/Q-ReAlign-Lite-4B"),
    "qrealign-pro": _repository("q-future/Q-ReAlign-Pro-9B"),
    "compare2score": (
        *_repository("q-future/Compare2Score"),
        *_repository("VQA-CityU/Compare2Score_1"),
        WeightFile("", hub="VQA-CityU/Anchor_images", kind="dataset"),
    ),
    "unique": (_torchvision("resnet34-b627a593.pth"), *_own("UNIQUE.pt")),
    "arniqa": (*_ARNIQA, *_own("regressor_koniq10k.pth")),
    "arniqa-live": (*_ARNIQA, *_own("regressor_live.pth")),
    "arniqa-csiq": (*_ARNIQA, *_own("regressor_csiq.pth")),
    "arniqa-tid": (*_ARNIQA, *_own("regressor_tid2013.pth")),
    "arniqa-kadid": (*_ARNIQA, *_own("regressor_kadid10k.pth")),
    "arniqa-clive": (*_ARNIQA, *_own("regressor_clive.pth")),
    "arniqa-flive": (*_ARNIQA, *_own("regressor_flive.pth")),
    "arniqa-spaq": (*_ARNIQA, *_own("regressor_spaq.pth")),
    "maclip": (_RN50,),
    "qualiclip": _QUALICLIP,
    "qualiclip+": (*_QUALICLIP, *_own("QualiCLIP+_koniq.pth")),
    "qualiclip+-clive": (*_QUALICLIP, *_own("QualiCLIP+_clive.pth")),
    "qualiclip+-flive": (*_QUALICLIP, *_own("QualiCLIP+_flive.pth")),
    "qualiclip+-spaq": (*_QUALICLIP, *_own("QualiCLIP+_spaq.pth")),
    "afine_nr": (_openai(*_B32, _CLIP_PACKAGE), *_own("afine.pth")),
}
"""Files by name of the metric."""


def locate(file: WeightFile) -> Path | None:
    """Where a file, or a repository's snapshot, is on this machine; None if it is not. Nothing heavy is imported."""
    from huggingface_hub import try_to_load_from_cache

    from agiqa_bench.backbones.fetch import cache_folder

    if file.target is not None and file.target.is_file():
        return file.target
    if not file.hub:
        # Where this project's own methods keep what they fetch by its address, OpenAI's CLIPs for one.
        kept = cache_folder() / file.name
        return kept if kept.is_file() else None
    for name in (file.name,) if file.name else _IN_SNAPSHOTS[file.kind]:
        found = try_to_load_from_cache(file.hub, name, repo_type=file.kind)
        if isinstance(found, str):
            return Path(found) if file.name else Path(found).parent
    return None


def fetch(metric: str, file: WeightFile, *, offline: bool) -> Path:
    """Find a file, or download it, and put it where pyiqa looks; a repository is only found.

    Args:
        metric: The metric that needs it, for messages.
        file: Of `FILES`.
        offline: Never touch the network.

    Raises:
        WeightsUnavailableError: It is not here and cannot, or must not, be fetched; one line.
    """
    found = locate(file)
    if found is None:
        missing = f"pyiqa's {metric} needs {file.label}, which is not on this machine"
        if not file.name:
            how = f"'hf download {file.hub}'"
            if file.kind == "dataset":  # a data set that only lies in the Hub's cache is not found by its reader
                how = f"the function load_dataset('{file.hub}') of the package datasets"
            raise WeightsUnavailableError(f"{missing}: fetch the repository, often gigabytes, by {how}")
        place = f"put it at {file.target}" if file.target else f"fetch it by 'hf download {file.hub} {file.name}'"
        if offline:
            raise WeightsUnavailableError(f"{missing}, and the run is offline: {place}")
        from agiqa_bench.backbones.fetch import download_weights

        try:
            found = download_weights(f"{file.label} of pyiqa's {metric}", file.source)
        except DownloadError as error:
            raise WeightsUnavailableError(f"{missing}, and cannot be fetched ({error}): {place}") from error
    if file.target is not None and found != file.target:
        _put(found, file.target)
    return file.target or found


def contents(path: Path) -> Iterator[Path]:
    """The file itself, or all files of a repository's snapshot in a fixed order."""
    if path.is_file():
        yield path
    else:
        yield from sorted(each for each in path.rglob("*") if each.is_file())


def _put(found: Path, target: Path) -> None:
    """Make `found` appear as `target`, by a link if the file system allows one."""
    from agiqa_bench.atomic import open_beside

    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(found.resolve(), target)
    except FileExistsError:
        return  # another process was faster
    except OSError:
        descriptor, temporary = open_beside(target)
        try:
            with os.fdopen(descriptor, "wb") as copy, found.open("rb") as content:
                shutil.copyfileobj(content, copy)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
