"""What a configuration would do, told without a model."""

from pathlib import Path

import pytest
from conftest import ROOT

from llmrl.commands import memory
from llmrl.commands.check import main
from llmrl.config import build
from llmrl.policies import causal_lm
from llmrl.policies.causal_lm import CausalPolicy
from llmrl.policies.loading import ModelConfig
from llmrl.trainers.config import LanguageConfig

MODEL = ROOT / "data" / "arithmetic" / "model"


def test_the_arithmetic_is_told_in_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(causal_lm, "load_model", lambda *_: pytest.fail("a model was loaded"))
    main(["--train.minibatches", "2", "--algorithm.num-iterations", "3"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "samples 16 prompts x 8 = 128 completions of up to 48 tokens" in shown
    assert "6 optimizer steps of 64 completions (2 minibatches x 3 iterations)" in shown
    assert "200 steps: 1,200 optimizer steps, 25,600 completions, at most 1,228,800 tokens" in shown
    assert "6,000 prompts to train on (0.53 epochs), 1,000 held out" in shown
    assert "653,696 parameters, 122,880 trained" in shown
    assert "lora_rank: 16" in shown
    assert "sandbox rewards that run programs would" in shown


@pytest.mark.parametrize("rank", [0, 4])
def test_the_shape_s_counts_are_the_model_s(model_dir: Path, rank: int) -> None:
    for name in (str(model_dir), str(MODEL)):
        shape = memory.read_shape(name)
        policy = CausalPolicy.from_pretrained(ModelConfig(name, lora_rank=rank))
        trained = sum(p.numel() for p in policy.trainable().values())
        assert shape.trained(rank) == trained
        assert shape.parameters == sum(p.numel() for p in policy.parameters()) - (trained if rank else 0)


def test_memory_grows_with_what_it_depends_on() -> None:
    shape = memory.read_shape(str(MODEL))

    def parts(**sections: dict[str, object]) -> dict[str, float]:
        model = {"name": str(MODEL), **sections.pop("model", {})}
        return memory.estimate(shape, build(LanguageConfig, {"model": model, **sections}), longest_prompt=64)

    plain = parts()
    assert parts(train={"micro_batch_tokens": 2048})["update"] < plain["update"]
    assert parts(model={"gradient_checkpointing": True})["update"] < plain["update"]
    assert parts(model={"dtype": "bfloat16"})["weights"] == plain["weights"] / 2
    assert parts(model={"quantization": "nf4"})["weights"] < plain["weights"] / 2
    assert parts(model={"lora_rank": 0})["reference"] == plain["weights"]
    assert parts(model={"lora_rank": 0}, algorithm={"kl_coef": 0.0})["reference"] == 0
    assert parts(sampling={"max_rows": 16})["sampling"] < plain["sampling"]
    assert memory.peak(plain) == sum(plain.values()) - min(plain["update"], plain["sampling"])
