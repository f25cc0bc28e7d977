"""What a run leaves is what vLLM loads; in an environment with vLLM: ``pytest -m vllm``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from helpers import make_policy

from llmrl.commands.merge import merge
from llmrl.policies.causal_lm import CausalPolicy
from llmrl.types import TokenInputs

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]
MODEL = ROOT / "data" / "arithmetic" / "model"
TEXT = "What is 12 + 30?\n12+30=42\n\\boxed{42}"


def trainers_logprobs(policy: CausalPolicy, tokens: list[int]) -> torch.Tensor:
    row = torch.tensor([tokens])
    inputs = TokenInputs(row, torch.ones_like(row).bool(), torch.tensor([1]), torch.tensor([0]))
    with torch.no_grad():
        return policy(inputs).logprobs[0, 1:]


@pytest.mark.parametrize("form", ["adapter", "merged"])
def test_vllm_gives_the_trainers_logprobs(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed")
    monkeypatch.setitem(os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    monkeypatch.setitem(os.environ, "VLLM_CPU_KVCACHE_SPACE", "1")
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    policy = make_policy(MODEL, lora_rank=8, noise=0.02)
    policy.save(tmp_path / "adapter")
    merge(tmp_path / "adapter", tmp_path / "merged")
    engine = LLM(
        model=str(MODEL if form == "adapter" else tmp_path / "merged"),
        dtype="float32",
        enforce_eager=True,
        max_model_len=128,
        enable_lora=form == "adapter",
        max_lora_rank=8,
        distributed_executor_backend="uni",
    )
    tokens = policy.tokenizer.encode(TEXT)
    request = LoRARequest("trained", 1, str(tmp_path / "adapter")) if form == "adapter" else None
    asked = SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=0)
    (output,) = engine.generate({"prompt_token_ids": tokens}, asked, lora_request=request, use_tqdm=False)
    given = [position[token].logprob for position, token in zip(output.prompt_logprobs[1:], tokens[1:], strict=True)]
    torch.testing.assert_close(torch.tensor(given), trainers_logprobs(policy, tokens), rtol=1e-5, atol=1e-5)
