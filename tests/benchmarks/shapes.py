"""What both sides of the comparison share: the shapes, the model and its tokenizer, the prompts, the reward."""

from __future__ import annotations

import random
import string
from dataclasses import dataclass

LEARNING_RATE, KL_COEF, CLIP_EPS, MAX_GRAD_NORM, TEMPERATURE = 1e-4, 0.01, 0.2, 1.0, 1.0
LORA_RANK, LORA_ALPHA = 16, 32
SEED = 0
LETTERS = string.ascii_lowercase


@dataclass(frozen=True)
class Shape:
    """A model of random weights and the batch that it is trained on."""

    hidden: int
    layers: int
    intermediate: int
    heads: int
    vocabulary: int
    lora: bool
    prompts: int = 8
    group: int = 8
    prompt_tokens: int = 32
    new_tokens: int = 64

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens of a training step, the prompt counted once a completion."""
        return self.prompts * self.group * (self.prompt_tokens + self.new_tokens)


ONE = {"hidden": 128, "layers": 5, "intermediate": 384, "heads": 4}
FIVE = {"hidden": 256, "layers": 6, "intermediate": 832, "heads": 4}
HUNDRED = {"hidden": 768, "layers": 12, "intermediate": 2304, "heads": 12}

SPEED = {
    "1M-v128-lora": Shape(**ONE, vocabulary=128, lora=True),
    "1M-v128-full": Shape(**ONE, vocabulary=128, lora=False),
    "5M-v128-lora": Shape(**FIVE, vocabulary=128, lora=True),
    "5M-v128-full": Shape(**FIVE, vocabulary=128, lora=False),
    "1M-v32000-lora": Shape(**ONE, vocabulary=32_000, lora=True),
    "1M-v32000-full": Shape(**ONE, vocabulary=32_000, lora=False),
    "5M-v32000-lora": Shape(**FIVE, vocabulary=32_000, lora=True),
    "5M-v32000-full": Shape(**FIVE, vocabulary=32_000, lora=False),
}
"""The default comes first. The number of parameters is that of the layers; the vocabulary's come on top."""

MEMORY = {
    "110M-v32000-lora": Shape(**HUNDRED, vocabulary=32_000, lora=True, prompts=2, group=4),
    "110M-v32000-full": Shape(**HUNDRED, vocabulary=32_000, lora=False, prompts=2, group=4),
}
SHAPES = SPEED | MEMORY


def make_model(folder: str, name: str) -> None:
    """Save a Qwen2 of random weights and a tokenizer of one letter a token.

    The end token's id is one past the model's vocabulary: it cannot be sampled, so that every completion has
    the same length without a rule that would have to be applied to the logits at each token.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    shape = SHAPES[name]
    words = ["<pad>", *LETTERS, *(f"t{i}" for i in range(1 + len(LETTERS), shape.vocabulary)), "<end>"]
    letters = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, []))
    letters.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=letters, pad_token="<pad>", eos_token="<end>", padding_side="left"
    ).save_pretrained(folder)
    torch.manual_seed(SEED)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=shape.vocabulary,
            hidden_size=shape.hidden,
            intermediate_size=shape.intermediate,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.heads // 2,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=0,
        )
    )
    model.save_pretrained(folder)


def make_prompts(shape: Shape, steps: int) -> list[str]:
    """Prompts of the same length in tokens, enough for every step to have its own."""
    draw = random.Random(SEED)
    return ["".join(draw.choices(LETTERS, k=shape.prompt_tokens)) for _ in range(steps * shape.prompts)]


def random_reward(completions: list[str], **columns: object) -> list[float]:
    """A different number in [0, 1) for each completion: no group is without spread."""
    return [value / 2**20 for value in random.sample(range(2**20), len(completions))]
