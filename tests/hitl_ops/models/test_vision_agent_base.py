from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BlipImageProcessor,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    InstructBlipProcessor,
    InstructBlipQFormerConfig,
    InstructBlipVisionConfig,
    LlamaConfig,
    OPTConfig,
    PreTrainedTokenizerFast,
)

from hitl_ops.contracts.errors import UserError
from hitl_ops.models.text_game_tokenizer import train_text_game_tokenizer
from hitl_ops.models.vision_agent import VisionAgent
from hitl_ops.models.vision_agent_config import (
    LAPTOP_AGENT,
    PAPER_AGENT,
    PARTS,
    TINY_CI_AGENT,
    TinyAgentShape,
    VisionAgentConfig,
)
from tests.support.agent_games import CORPUS, GAMES, answers, pictures_of, rows_of, stir


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    """An InstructBLIP as transformers saves one, small, with a vocabulary of its own for the Q-Former."""
    return publish(tmp_path_factory.mktemp("instructblip"), "llama", seed=0)


def publish(folder, language: str, seed: int) -> str:
    words = train_text_game_tokenizer(CORPUS, vocabulary=2048, max_positions=512)
    met = sorted({word for _, task, _ in GAMES for word in task.replace(".", " .").split()})
    spelled = Tokenizer(models.WordLevel({word: i for i, word in enumerate(["[PAD]", "[UNK]", *met])}, "[UNK]"))
    spelled.pre_tokenizer = pre_tokenizers.Whitespace()
    for_task = PreTrainedTokenizerFast(tokenizer_object=spelled, pad_token="[PAD]", unk_token="[UNK]")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 512}
    own = {"llama": LlamaConfig, "opt": OPTConfig}[language]
    config = InstructBlipConfig(
        vision_config=InstructBlipVisionConfig(
            **sizes, intermediate_size=32, image_size=24, patch_size=8, initializer_range=0.02
        ),
        qformer_config=InstructBlipQFormerConfig(**sizes, intermediate_size=32, vocab_size=len(for_task)),
        text_config=own(**text, vocab_size=len(words) + 3),
        num_query_tokens=5,
        image_token_index=words.convert_tokens_to_ids("<image>"),
    )
    torch.manual_seed(seed)
    model = InstructBlipForConditionalGeneration(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    processor = BlipImageProcessor(size={"height": 24, "width": 24})
    InstructBlipProcessor(processor, words, for_task, num_query_tokens=5).save_pretrained(folder)
    return str(folder)


def pretrained(checkpoint: str, **changes) -> VisionAgentConfig:
    return PAPER_AGENT.replace(base=checkpoint, picture=32, max_tokens=512, device="cpu", dtype="float32", **changes)


def test_a_published_base_reads_what_transformers_processor_makes_of_it(checkpoint) -> None:
    agent = VisionAgent.create(pretrained(checkpoint))
    processor = InstructBlipProcessor.from_pretrained(checkpoint)
    pictures = pictures_of(3)
    rows = rows_of(agent, 3)
    sums = agent.logprobs(rows, pictures).sums
    for (prompt, task, _), row, picture, total in zip(GAMES, rows, pictures, sums, strict=False):
        inputs = processor(images=picture, text=prompt, return_tensors="pt")
        assert inputs["input_ids"][0].tolist() == [agent._base.image_token] * 5 + list(row.prompt)
        asked = processor.qformer_tokenizer(task, return_tensors="pt")
        more = torch.tensor([row.completion])
        with torch.no_grad():
            logits = agent.model(
                pixel_values=inputs["pixel_values"],
                qformer_input_ids=asked["input_ids"],
                input_ids=torch.cat([inputs["input_ids"], more], dim=1),
            ).logits[0]
        logprobs = torch.log_softmax(logits[-1 - more.shape[1] : -1], dim=-1)
        expected = logprobs.gather(1, more.T).sum()
        assert float(total.detach()) == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_published_base_is_named_and_not_copied(checkpoint, dtype, tmp_path) -> None:
    agent = VisionAgent.create(pretrained(checkpoint).replace(dtype=dtype))
    assert set(agent.trainable_parameters()) == {"language_projection.weight", "language_projection.bias"}
    stir(agent)
    agent.save(tmp_path / "agent")
    assert sorted(path.name for path in (tmp_path / "agent").iterdir()) == ["agent.json", "weights.safetensors"]
    assert (tmp_path / "agent" / "weights.safetensors").stat().st_size < 4000
    again = VisionAgent.load(tmp_path / "agent", reply="constrained")
    assert again.policy_id == agent.policy_id
    agent.config = again.config
    assert answers(again) == answers(agent)
    assert all(action in commands for (action, _), (_, _, commands) in zip(answers(again), GAMES, strict=False))
    free = VisionAgent.load(tmp_path / "agent", max_reply_tokens=4)
    assert all("\n" not in action for action, _ in answers(free))


def test_another_base_in_the_same_place_is_noticed(checkpoint, tmp_path) -> None:
    place = publish(tmp_path / "base", "llama", seed=0)
    VisionAgent.create(pretrained(place)).save(tmp_path / "agent")
    VisionAgent.load(tmp_path / "agent")
    publish(tmp_path / "base", "llama", seed=1)
    with pytest.raises(UserError, match="is not the one that agent"):
        VisionAgent.load(tmp_path / "agent")


def test_what_cannot_be_a_base_is_told(checkpoint, tmp_path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        VisionAgent.create(pretrained(str(tmp_path / "nowhere")))
    with pytest.raises(UserError, match=r"reads \(512\)"):
        VisionAgent.create(pretrained(checkpoint).replace(max_tokens=513))
    with pytest.raises(UserError, match=r"language model of .* is opt"):
        VisionAgent.create(pretrained(publish(tmp_path / "opt", "opt", seed=0)))
    LlamaConfig(vocab_size=9, architectures=["LlamaForCausalLM"]).save_pretrained(tmp_path / "llama")
    with pytest.raises(UserError, match="is no InstructBLIP"):
        VisionAgent.create(pretrained(str(tmp_path / "llama")))
    broken = publish(tmp_path / "broken", "llama", seed=0)
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be loaded") as error:
        VisionAgent.create(pretrained(broken))
    assert "\n" not in str(error.value)


def sizes(config: VisionAgentConfig) -> dict[str, object]:
    model = VisionAgent.create(config, CORPUS).model
    vision, qformer, text = model.config.vision_config, model.config.qformer_config, model.config.text_config
    return {
        "picture": vision.image_size,
        "max_tokens": text.max_position_embeddings,
        "patch": model.vision_model.embeddings.patch_size,
        "vision_hidden": vision.hidden_size,
        "vision_layers": len(model.vision_model.encoder.layers),
        "vision_heads": model.vision_model.encoder.layers[0].self_attn.num_heads,
        "query_tokens": model.query_tokens.shape[1],
        "qformer_hidden": qformer.hidden_size,
        "qformer_layers": len(model.qformer.encoder.layer),
        "qformer_heads": qformer.num_attention_heads,
        "task_tokens": qformer.max_position_embeddings,
        "language_hidden": text.hidden_size,
        "language_layers": len(model.language_model.model.layers),
        "language_heads": text.num_attention_heads,
        "language_intermediate": text.intermediate_size,
        "vocabulary": model.language_model.model.embed_tokens.num_embeddings,
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("picture", 64),
        ("max_tokens", 600),
        ("patch", 8),
        ("vision_hidden", 24),
        ("vision_layers", 2),
        ("vision_heads", 4),
        ("query_tokens", 3),
        ("qformer_hidden", 24),
        ("qformer_layers", 3),
        ("qformer_heads", 4),
        ("task_tokens", 32),
        ("language_hidden", 48),
        ("language_layers", 3),
        ("language_heads", 4),
        ("language_intermediate", 48),
        ("vocabulary", 280),
    ],
)
def test_each_size_changes_what_it_names(field, value) -> None:
    shape = field in TinyAgentShape.model_fields
    changes = {"tiny": TINY_CI_AGENT.tiny.replace(**{field: value})} if shape else {field: value}
    before, after = sizes(TINY_CI_AGENT), sizes(TINY_CI_AGENT.replace(**changes))
    assert after[field] == value != before[field]
    assert {key for key in before if before[key] != after[key]} == {field}
    assert set(TinyAgentShape.model_fields) < set(before)


def test_presets_and_what_does_not_fit() -> None:
    assert (PAPER_AGENT.base, PAPER_AGENT.trainable) == ("Salesforce/instructblip-vicuna-7b", ("projection",))
    assert LAPTOP_AGENT.trainable == PARTS
    made = VisionAgent.create(LAPTOP_AGENT.replace(device="cpu"), CORPUS)
    assert 1e6 < sum(value.numel() for value in made.model.parameters()) < 2e6
    for changes in (
        {"trainable": ()},
        {"trainable": ("vision", "vision")},
        {"trainable": ("hands",)},
        {"picture": 40},
        {"history_turns": 0},
    ):
        with pytest.raises(UserError):
            LAPTOP_AGENT.replace(**changes)
    for field in ("vision_heads", "qformer_heads", "language_heads"):
        with pytest.raises(UserError):
            LAPTOP_AGENT.tiny.replace(**{field: 5})


@pytest.mark.parametrize(
    "text",
    ["go to fridge 1", " ünïcode \t tabs\r\n", "</s> <image> <pad> <s>", "a  b   c 0012 3.4", "", "\n>\n> go", "Ġ ▁ Ċ"],
)
def test_any_text_comes_back(text) -> None:
    base = VisionAgent.create(TINY_CI_AGENT, CORPUS)._base
    assert base.reply_text(base._ids(text)) == text
    assert base.image_token not in base._ids(text)


def test_words_and_numbers_are_tokens_and_a_command_is_the_same_everywhere() -> None:
    tokenizer = train_text_game_tokenizer(CORPUS, vocabulary=2048, max_positions=64)
    pieces = [tokenizer.decode([i]) for i in tokenizer("> go to cabinet 12", add_special_tokens=False).input_ids]
    assert pieces == [">", " go to", " cabinet", " 12"]
    inside = tokenizer("You see.\n> go to cabinet 12\nYou", add_special_tokens=False).input_ids
    assert str(tokenizer(" go to cabinet 12", add_special_tokens=False).input_ids)[1:-1] in str(inside)
    assert train_text_game_tokenizer(CORPUS, vocabulary=2048, max_positions=64).get_vocab() == tokenizer.get_vocab()
    with pytest.raises(UserError, match="leaves no room"):
        train_text_game_tokenizer(CORPUS, vocabulary=200, max_positions=64)
