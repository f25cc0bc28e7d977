"""The small tokenizer of the arithmetic task: printable ASCII a character a token, and a few whole words.

Text in printable ASCII comes back from ``decode(encode(text))`` exactly as it was; any other character becomes
``<|unk|>``. The model that goes with it is a Llama: transformers' ``AutoTokenizer`` replaces the pre-tokenizer of
whatever lies beside a Qwen2 configuration by Qwen2's own, and would silently cut this text in another way.
"""

from __future__ import annotations

import re

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

PAD, UNKNOWN, START, END = "<|pad|>", "<|unk|>", "<|im_start|>", "<|im_end|>"
WORDS = ("\\boxed{", "What is ", " + ", " - ", " * ", "system\n", "user\n", "assistant\n")
CHARACTERS = ("\n", *map(chr, range(32, 127)))
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def build() -> PreTrainedTokenizerFast:
    """The tokenizer: 108 tokens, none added at the start, ``<|im_end|>`` as its end of sequence."""
    vocabulary = {token: index for index, token in enumerate((PAD, UNKNOWN, START, END, *WORDS, *CHARACTERS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    pattern = "|".join([*map(re.escape, WORDS), r"[\s\S]"])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        eos_token=END,
        additional_special_tokens=[START],
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )
