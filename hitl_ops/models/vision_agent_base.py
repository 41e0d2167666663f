"""What a vision-language agent is built on: an InstructBLIP of random weights, or a published one, with its tokenizers.

The network is transformers' own, whichever it is. Its four parts (picture encoder, Q-Former with its query tokens,
projection, language model) can train or stay as they are.

Imported inside functions only: it needs torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hitl_ops.contracts.errors import UserError
from hitl_ops.models.base_models import (
    check_model_folder,
    hub_has,
    loading_errors_named,
    match_attention,
    quiet_transformers,
)
from hitl_ops.models.text_game_tokenizer import IMAGE
from hitl_ops.models.vision_agent_config import TINY, AgentPart, VisionAgentConfig

_PREFIXES: dict[AgentPart, tuple[str, ...]] = {
    "vision": ("vision_model.",),
    "qformer": ("qformer.", "query_tokens"),
    "projection": ("language_projection.",),
    "language": ("language_model.",),
}
_ANCHOR = ">"
"""What a prompt ends with, and a reply is encoded after: some tokenizers treat the beginning of a text apart."""


def part_of(parameter: str) -> AgentPart:
    """The part of an InstructBLIP that a parameter belongs to, by its name."""
    return next(part for part, prefixes in _PREFIXES.items() if parameter.startswith(prefixes))


@dataclass(frozen=True)
class AgentBase:
    """A network and what turns texts and pictures into its input.

    Attributes:
        model: InstructBlipForConditionalGeneration over a Llama.
        tokenizer: of the language model.
        task_tokenizer: of the Q-Former; the same one where the base is tiny.
        image_processor: transformers'; None: pictures are only scaled to [-1, 1].
    """

    model: Any
    tokenizer: Any
    task_tokenizer: Any
    image_processor: Any = None

    @property
    def image_token(self) -> int:
        """The token that stands where a picture is seen."""
        return int(self.model.config.image_token_index)

    def prompt_ids(self, text: str) -> list[int]:
        """Token ids of a prompt with the tokenizer's opening, without the picture's."""
        opening = self.tokenizer.bos_token_id
        ids = self._ids(text)
        return ids if opening is None else [opening, *ids]

    def reply_ids(self, text: str) -> list[int]:
        """Token ids of what follows a prompt, without an end."""
        before, both = self._ids(_ANCHOR), self._ids(_ANCHOR + text)
        return both[len(before) :] if both[: len(before)] == before else self._ids(text)

    def _ids(self, text: str) -> list[int]:
        # Special tokens that a text spells out are text: a written "<image>" is no picture.
        encoded = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)
        return list(encoded.input_ids)

    def reply_text(self, ids: Sequence[int]) -> str:
        """The text that a reply's tokens stand for."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def task_ids(self, text: str) -> list[int]:
        """Token ids of a task text for the Q-Former.

        Raises:
            UserError: the text is longer than it reads.
        """
        ids = list(self.task_tokenizer(text, split_special_tokens=True, verbose=False).input_ids)
        limit = self.model.config.qformer_config.max_position_embeddings
        if len(ids) > limit:
            raise UserError(
                f"a task text of {len(ids)} tokens is longer than the Q-Former reads ({limit})", "shorten it"
            )
        return ids

    def distinct_features(
        self, tasks: Sequence[Sequence[int]], pictures: NDArray[np.uint8], size: int
    ) -> tuple[Tensor, list[int]]:
        """Run picture encoder and Q-Former once for every distinct pair of task and picture.

        Args:
            tasks: token ids, from :meth:`task_ids`.
            pictures: [N, size, size, 3] uint8.
            size: what the pictures' edge must be.

        Returns:
            The Q-Former's queries [D, queries, its width], and which of them each row has [N].

        Raises:
            UserError: the pictures are of another size.
        """
        if pictures.dtype != np.uint8 or pictures.shape != (len(tasks), size, size, 3):
            raise UserError(
                f"{len(tasks)} pictures of {size} x {size} pixels in 8 bits are needed, got {pictures.dtype} "
                f"{list(pictures.shape)}",
                f"draw them with size {size}",
            )
        place: dict[tuple[tuple[int, ...], bytes], int] = {}
        first: list[int] = []
        which: list[int] = []
        for row, task in enumerate(tasks):
            key = (tuple(task), pictures[row].tobytes())
            if key not in place:
                place[key] = len(first)
                first.append(row)
            which.append(place[key])
        words = [torch.tensor(tasks[row]) for row in first]
        padded = torch.nn.utils.rnn.pad_sequence(words, batch_first=True)
        mask = torch.arange(padded.shape[1]) < torch.tensor([len(word) for word in words])[:, None]
        device = self.model.query_tokens.device
        output = self.model.get_image_features(
            self.pixels(pictures[first]).to(device),
            qformer_input_ids=padded.to(device),
            qformer_attention_mask=mask.long().to(device),
            return_dict=True,
        )
        queries = self.model.config.num_query_tokens
        return output.qformer_outputs.last_hidden_state[:, :queries], which

    def pixels(self, pictures: NDArray[np.uint8]) -> Tensor:
        """Pictures [N, S, S, 3] uint8 → [N, 3, S', S'] float32, as the picture encoder wants them."""
        if self.image_processor is None:
            return torch.from_numpy(pictures.copy()).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)
        values = self.image_processor(images=list(pictures), return_tensors="pt", input_data_format="channels_last")
        return torch.as_tensor(values["pixel_values"])


def tiny_agent_base(config: VisionAgentConfig, tokenizer: Any, seed: int) -> AgentBase:
    """An InstructBLIP of random weights; the same seed and tokenizer always give the same.

    Args:
        config: its sizes are those of ``config.tiny``.
        tokenizer: see :mod:`hitl_ops.models.text_game_tokenizer`; leaves the global random state as it was.
        seed: of the weights.
    """
    from transformers import (
        InstructBlipConfig,
        InstructBlipForConditionalGeneration,
        InstructBlipQFormerConfig,
        InstructBlipVisionConfig,
        LlamaConfig,
    )

    shape = config.tiny
    whole = InstructBlipConfig(
        vision_config=InstructBlipVisionConfig(
            hidden_size=shape.vision_hidden,
            intermediate_size=2 * shape.vision_hidden,
            num_hidden_layers=shape.vision_layers,
            num_attention_heads=shape.vision_heads,
            image_size=config.picture,
            patch_size=shape.patch,
            initializer_range=0.02,  # the default, 1e-10, is for weights that are loaded
        ),
        qformer_config=InstructBlipQFormerConfig(
            vocab_size=len(tokenizer),
            hidden_size=shape.qformer_hidden,
            intermediate_size=2 * shape.qformer_hidden,
            num_hidden_layers=shape.qformer_layers,
            num_attention_heads=shape.qformer_heads,
            max_position_embeddings=shape.task_tokens,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            pad_token_id=tokenizer.pad_token_id,
        ),
        text_config=LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=shape.language_hidden,
            intermediate_size=shape.language_intermediate,
            num_hidden_layers=shape.language_layers,
            num_attention_heads=shape.language_heads,
            num_key_value_heads=shape.language_heads,
            max_position_embeddings=config.max_tokens,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        ),
        num_query_tokens=shape.query_tokens,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = InstructBlipForConditionalGeneration(whole)
        match_attention(model.language_model)
        with torch.no_grad():
            # transformers leaves them zero, to be loaded; equal queries would stay equal for ever.
            model.query_tokens.normal_(std=0.02)
    return AgentBase(model, tokenizer, tokenizer)


def pretrained_agent_base(config: VisionAgentConfig) -> AgentBase:
    """A published InstructBLIP.

    Args:
        config: ``config.base`` is its folder or Hugging Face id.

    Raises:
        UserError: it cannot be had, is damaged, is no InstructBLIP, or its language model is no Llama.
    """
    import transformers

    base = config.base
    is_path = base.startswith((".", "/", "~")) or base.count("/") > 1 or Path(base).exists()
    source = str(Path(base).expanduser()) if is_path else base
    if is_path:
        check_model_folder(Path(source))
    offline = not is_path and not hub_has(base, TINY)
    with loading_errors_named(base, TINY), quiet_transformers():
        facts = transformers.AutoConfig.from_pretrained(source, local_files_only=offline)
        _check_kind(base, facts, config.max_tokens)
        processor = transformers.InstructBlipProcessor.from_pretrained(source, local_files_only=offline)
        model, report = transformers.InstructBlipForConditionalGeneration.from_pretrained(
            source,
            config=facts,
            dtype=getattr(torch, config.dtype),
            use_safetensors=True,  # the other format is pickle
            local_files_only=offline,
            output_loading_info=True,
        )
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise UserError(f"model '{base}' lacks {len(missing)} weights, e.g. {missing[0]}", "fetch it again")
    return AgentBase(model, processor.tokenizer, processor.qformer_tokenizer, processor.image_processor)


def _check_kind(base: str, facts: Any, max_tokens: int) -> None:
    if facts.model_type != "instructblip":
        raise UserError(f"model '{base}' ({facts.model_type}) is no InstructBLIP", f"choose one that is, or {TINY}")
    kind = facts.text_config.model_type
    if kind != "llama":
        # Its logits must be the head's output for single positions, which other models scale or cap.
        raise UserError(
            f"the language model of '{base}' is {kind}", "choose an InstructBLIP over a Llama, as Vicuna is"
        )
    limit = facts.text_config.max_position_embeddings
    if max_tokens > limit:
        raise UserError(f"max_tokens {max_tokens} is more than '{base}' reads ({limit})", "lower max_tokens")


def build_agent_base(config: VisionAgentConfig, tokenizer: Any, seed: int) -> AgentBase:
    """Build, place and freeze: what trains in float32, the rest in ``config.dtype``, in evaluation mode for good.

    Dropout stays out in training too: the probabilities that a preference loss compares must be those of the
    network that answers.

    Args:
        config: which.
        tokenizer: of a tiny base; unused by others.
        seed: of a tiny base.

    Raises:
        UserError: the base cannot be had, or the device is not there.
    """
    tiny = config.base == TINY
    base = tiny_agent_base(config, tokenizer, seed) if tiny else pretrained_agent_base(config)
    model = base.model.eval()
    for name, parameter in model.named_parameters():
        trains = part_of(name) in config.trainable
        parameter.requires_grad_(trains)
        parameter.data = parameter.data.to(torch.float32 if trains else getattr(torch, config.dtype))
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        model.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"device '{device}' cannot be used ({reason})", "choose 'auto' or 'cpu'") from None
    return base


def frozen_sample(model: Any, parts: Iterable[AgentPart]) -> dict[str, list[float]]:
    """One number of every parameter of ``parts``, part by part, by which a base is known again."""
    found: dict[str, list[float]] = {part: [] for part in parts}
    for name, parameter in model.named_parameters():
        if part_of(name) in found:
            flat = parameter.detach().reshape(-1)
            found[part_of(name)].append(float(flat[len(flat) // 2]))
    return found
