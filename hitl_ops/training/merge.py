"""From an adapter to a model anybody can load: merge, check that nothing changed, publish, push."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import publishing
from hitl_ops.contracts.store import Store
from hitl_ops.models.base_models import TINY, load_base, quiet_transformers
from hitl_ops.training.sft import BASE

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_AGREEMENT = 1e-4
# Beyond this many parameters the check is computed in float32, whose own noise grows with the size of the logits.
_DOUBLE_UP_TO = 1_000_000_000
_NOISE = 1e-5
_PROBES, _PROBE_LENGTH = 4, 48


class MergeSummary(BaseModel):
    """What a merge did."""

    model_config = ConfigDict(extra="forbid")

    method: Literal["lora", "full"] = Field(description="what was trained")
    parameters: int
    dtype: str = Field(description="number format of the published weights")
    max_logit_difference: float = Field(
        description="largest absolute difference between the logits of what was trained and of what was published and "
        "read back, over all tokens of the probes"
    )
    probe_tokens: int


def merge(
    base: str,
    trained: Path,
    out: Path,
    *,
    cache: Path | None = None,
    dtype: Literal["float32", "bfloat16"] = "float32",
) -> MergeSummary:
    """Publish what a training left as a plain transformers folder, ``out``, with its tokenizer.

    Args:
        base: what the training started from; for ``tiny`` the training's own ``base`` folder is used.
        trained: the training's ``adapter`` folder: a PEFT adapter, or a whole model.
        out: folder to publish.
        cache: where base models are unpacked; by default the store's.
        dtype: number format to publish in; the merge itself is computed in at least float32.

    Raises:
        UserError: there is nothing to merge, it does not belong to ``base``, or in float32 the published model does
            not agree with the trained one to 1e-4. Then nothing is published.
    """
    cache = cache or Store.from_environment().cache
    adapter = (trained / "adapter_config.json").is_file()
    if not adapter and not (trained / "config.json").is_file():
        raise UserError(f"'{trained}' holds neither an adapter nor a model", "train first, or check the path")
    # An adapter's own folder holds the tokenizer it was trained with.
    if adapter:
        model: PreTrainedModel = _with_adapter(load_base(_base_folder(base, trained), cache=cache).model, trained, base)
    else:
        model = load_base(str(trained.resolve()), cache=cache).model
    tokenizer = _tokenizer(trained)
    probes = torch.randint(
        model.config.get_text_config().vocab_size,
        (_PROBES, _PROBE_LENGTH),
        generator=torch.Generator().manual_seed(0),
    )
    wanted = _logits(model, probes)
    allowed = _AGREEMENT if _fits_in_double(model) else max(_AGREEMENT, _NOISE * float(wanted.abs().max()))
    if adapter:
        model = model.merge_and_unload()
    with publishing(out) as temporary:
        with quiet_transformers():
            model.to(getattr(torch, dtype)).save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
        again = load_base(str(temporary.resolve()), cache=cache).model
        difference = float((_logits(again, probes) - wanted).abs().max())
        if dtype == "float32" and not difference <= allowed:
            raise UserError(
                f"the merged model differs from '{trained}' by {difference:.2g} in its logits",
                "train again; the adapter's numbers are out of range",
            )
    return MergeSummary(
        method="lora" if adapter else "full",
        parameters=sum(parameter.numel() for parameter in again.parameters()),
        dtype=dtype,
        max_logit_difference=difference,
        probe_tokens=probes.numel(),
    )


def push_to_hub(folder: Path, repo_id: str, *, private: bool = True) -> str:
    """Upload a published model or adapter to the Hugging Face Hub, with the token of ``hf auth login``.

    Returns:
        The address of the commit.

    Raises:
        UserError: the folder is no model, there is no token, it may not write there, or there is no network.
    """
    import httpx
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if not any((folder / name).is_file() for name in ("config.json", "adapter_config.json")):
        raise UserError(f"'{folder}' holds no model to push", "merge first, or check the path")
    if get_token() is None:
        raise UserError(f"cannot push to '{repo_id}': no Hugging Face token", "run `hf auth login`, or set HF_TOKEN")
    api = HfApi()
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message="Upload policy"))
    except HFValidationError:
        raise UserError(f"'{repo_id}' is no repository name", "write it as owner/name") from None
    except HfHubHTTPError as error:
        raise UserError(f"cannot push to '{repo_id}'", " ".join(str(error).split())[:200]) from None
    except (httpx.HTTPError, OSError) as error:
        raise UserError(f"cannot reach the Hugging Face Hub ({error})", "check the network, or HF_ENDPOINT") from None


def _base_folder(base: str, trained: Path) -> str:
    if base != TINY:
        return base
    folder = trained.resolve().parent / BASE
    if not folder.is_dir():
        raise UserError(f"'{folder}' is gone, and the base 'tiny' exists nowhere else", "train again")
    return str(folder)


def _with_adapter(model: PreTrainedModel, trained: Path, base: str) -> PreTrainedModel:
    from peft import PeftModel

    if not (trained / "adapter_model.safetensors").is_file():
        raise UserError(f"adapter '{trained}' lacks adapter_model.safetensors", "train again, or copy it again")
    try:
        return PeftModel.from_pretrained(model, str(trained)).eval()
    except (RuntimeError, ValueError, KeyError, TypeError, SafetensorError) as error:
        why = " ".join(str(error).split())[:160]
        raise UserError(f"adapter '{trained}' does not fit the base '{base}'", why) from None


def _tokenizer(trained: Path):  # type: ignore[no-untyped-def]  # transformers has no common type for what this returns
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(trained.resolve()))
    except (OSError, ValueError):
        raise UserError(f"'{trained}' holds no tokenizer", "copy the base model's tokenizer into it") from None


def _logits(model: PreTrainedModel, probes: torch.Tensor) -> torch.Tensor:
    """Logits on the probes; in double precision where there is room, so that weights are compared, not roundings."""
    model.eval()
    if _fits_in_double(model):
        model.double()
    with torch.no_grad():
        return model(input_ids=probes).logits.double()


def _fits_in_double(model: PreTrainedModel) -> bool:
    return sum(parameter.numel() for parameter in model.parameters()) <= _DOUBLE_UP_TO
