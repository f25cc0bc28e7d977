"""GRPO on one page: no batching, no cache, no wrapper. The specification that the trainer is tested against.

python recipes/grpo_minimal.py [STEPS]

Everything that makes the real trainer fast is left out: completions are drawn one token at a time with a full
forward pass, and each contributes its own backward pass. What is left is the method.
"""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

import llmrl.functional as F
from llmrl.verifiers.math import verify

CLIP, KL_COEF, LEARNING_RATE, GROUP_SIZE, MAX_TOKENS = F.Bounds(0.2, 0.2, 3.0), 0.01, 1e-4, 8, 48
DATA = Path(__file__).resolve().parents[1] / "data" / "arithmetic"

Row = tuple[list[int], list[list[int]], list[float]]
"""A prompt's tokens, the tokens of its completions, and their rewards."""


def logprobs(model: Any, prompt: list[int], completion: list[int]) -> Tensor:
    """[T] log-probability of each token of the completion given all before it."""
    logits = model(torch.tensor([prompt + completion])).logits[0]
    return F.token_logprobs(logits[len(prompt) - 1 : -1], torch.tensor(completion))


def sample(model: Any, prompt: list[int], end: int) -> list[int]:
    """One completion at temperature 1."""
    completion: list[int] = []
    while len(completion) < MAX_TOKENS and end not in completion:
        with torch.no_grad():
            logits = model(torch.tensor([prompt + completion])).logits[0, -1]
        completion.append(int(torch.multinomial(logits.softmax(-1), 1)))
    return completion


def train_step(model: Any, reference: Any, optimizer: torch.optim.Optimizer, rows: list[Row]) -> float:
    """One GRPO step (Shao et al. 2024, equations 3 and 4) on freshly sampled completions; returns the loss."""
    total = 0.0
    for prompt, completions, rewards in rows:
        valid = torch.ones(1, len(rewards), dtype=torch.bool)
        advantages = F.group_standardised(torch.tensor([rewards]), valid)[0]
        for completion, advantage in zip(completions, advantages, strict=True):
            lp = logprobs(model, prompt, completion)
            with torch.no_grad():
                ref = logprobs(reference, prompt, completion)
            log_ratio = lp - lp.detach()
            per_token = F.clipped_surrogate(lp, log_ratio, advantage, CLIP) + KL_COEF * F.kl_k3(lp, ref)
            loss = per_token.mean() / (len(rows) * len(completions))
            loss.backward()
            total += loss.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return total


def main(steps: int) -> None:
    tokenizer = AutoTokenizer.from_pretrained(DATA / "model")
    model = AutoModelForCausalLM.from_pretrained(DATA / "model")
    reference = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    problems = [json.loads(line) for line in (DATA / "train.jsonl").read_text().splitlines()]
    torch.manual_seed(0)
    for step in range(steps):
        rows, correct = [], []
        for problem in problems[4 * step : 4 * step + 4]:
            chat = [{"role": "user", "content": problem["prompt"]}]
            prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
            completions = [sample(model, prompt, tokenizer.eos_token_id) for _ in range(GROUP_SIZE)]
            texts = tokenizer.batch_decode(completions, skip_special_tokens=True)
            rewards = [float(verify(text, problem["answer"])) for text in texts]
            rows.append((prompt, completions, rewards))
            correct += rewards
        loss = train_step(model, reference, optimizer, rows)
        print(f"step {step + 1}  loss {loss:.4f}  accuracy {sum(correct) / len(correct):.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
