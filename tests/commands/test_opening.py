"""Whatever training leaves can be opened again, and is the policy that was trained."""

from pathlib import Path

import pytest
import torch
from helpers import make_policy
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import llmrl.functional as F
from llmrl.commands import merge as merging
from llmrl.commands import sample
from llmrl.commands.opening import open_policy
from llmrl.errors import UserError
from llmrl.types import TokenInputs

TOKENS = torch.tensor([[5, 9, 3, 14, 2, 7, 1]])


def inputs() -> TokenInputs:
    return TokenInputs(TOKENS, torch.ones_like(TOKENS).bool(), torch.tensor([2]), torch.tensor([0]))


def plain_logprobs(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        logits = model(input_ids=TOKENS).logits[0]
    return F.token_logprobs(logits[1:-1], TOKENS[0, 2:])


def test_adapter_and_merged_model_are_the_policy(model_dir: Path, tmp_path: Path) -> None:
    """In plain transformers and peft, to 1e-5 in float32."""
    policy = make_policy(model_dir)
    expected = policy(inputs()).logprobs[0, 2:].detach()
    base = AutoModelForCausalLM.from_pretrained(model_dir)
    assert (plain_logprobs(base) - expected).abs().max() > 1e-2
    policy.save(tmp_path / "adapter")
    adapted = PeftModel.from_pretrained(base, str(tmp_path / "adapter"))
    torch.testing.assert_close(plain_logprobs(adapted), expected, rtol=0, atol=1e-5)
    merging.main([str(tmp_path / "adapter"), str(tmp_path / "merged")])
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(plain_logprobs(merged), expected, rtol=0, atol=1e-5)
    assert merged.lm_head.weight is merged.model.embed_tokens.weight
    assert AutoTokenizer.from_pretrained(tmp_path / "merged").encode("1+2") == policy.tokenizer.encode("1+2")
    opened = open_policy(str(tmp_path / "merged"))
    torch.testing.assert_close(opened(inputs()).logprobs[0, 2:], expected, rtol=0, atol=1e-5)


def test_what_began_from_an_adapter_is_saved_whole(model_dir: Path, tmp_path: Path) -> None:
    """The second adapter alone would fit no base that exists."""
    make_policy(model_dir, seed=1).save(tmp_path / "first")
    policy = make_policy(model_dir, adapter=str(tmp_path / "first"))
    expected = policy(inputs()).logprobs[0, 2:].detach()
    policy.save(tmp_path / "second")
    torch.testing.assert_close(policy(inputs()).logprobs[0, 2:], expected, rtol=0, atol=0)
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "second")
    torch.testing.assert_close(plain_logprobs(saved), expected, rtol=0, atol=1e-5)
    assert (plain_logprobs(AutoModelForCausalLM.from_pretrained(model_dir)) - expected).abs().max() > 1e-2


def test_all_weights_saved_are_the_policy(model_dir: Path, tmp_path: Path) -> None:
    policy = make_policy(model_dir, lora_rank=0, noise=0.01)
    policy.save(tmp_path / "whole")
    expected = policy(inputs()).logprobs[0, 2:].detach()
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "whole")
    torch.testing.assert_close(plain_logprobs(saved), expected, rtol=0, atol=1e-5)


def test_a_run_its_final_model_and_its_last_checkpoint_are_the_same(run: Path) -> None:
    places = (run, run / "final", run / "checkpoints" / "step-000004")
    values = [open_policy(str(place))(inputs()).logprobs for place in places]
    for value in values[1:]:
        torch.testing.assert_close(value, values[0], rtol=0, atol=1e-6)
    earlier = open_policy(str(run / "checkpoints" / "step-000002"))(inputs()).logprobs
    assert (earlier - values[0]).abs().max() > 1e-3


def test_bfloat16_is_written_on_request(run: Path, tmp_path: Path) -> None:
    merging.main([str(run), str(tmp_path / "half"), "--dtype", "bfloat16"])
    assert {t.dtype for t in load_file(tmp_path / "half" / "model.safetensors").values()} == {torch.bfloat16}
    assert "bfloat16" in (tmp_path / "half" / "README.md").read_text()


def test_an_adapter_of_tied_weights_is_refused(model_dir: Path, tmp_path: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(model_dir)
    settings = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["lm_head"], task_type="CAUSAL_LM")
    with pytest.warns(UserWarning, match="tie_word_embeddings"):
        get_peft_model(base, settings).save_pretrained(str(tmp_path / "tied"))
    refused = pytest.raises(UserError, match="one tensor there: it cannot be merged")
    with pytest.warns(UserWarning, match="tie_word_embeddings"), refused:
        merging.merge(tmp_path / "tied", tmp_path / "out")


def test_merging_never_writes_over_anything(run: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    with pytest.raises(UserError, match="is not empty"):
        merging.main([str(run), str(tmp_path / "full")])
    with pytest.raises(UserError, match="name the adapter's folder"):
        merging.main([str(run)])


def test_sample_answers_each_prompt(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample.main([str(run), "--prompt", "1+1=", "2+2=", "--max-tokens", "5", "--seed", "1", "--n", "2"])
    first = capsys.readouterr().out
    assert first.count("---") == 4
    sample.main([str(run), "--prompt", "1+1=", "2+2=", "--max-tokens", "5", "--seed", "1", "--n", "2"])
    assert capsys.readouterr().out == first


def test_sample_reads_questions_from_the_standard_input(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("1+1=\n\n3+4=\n"))
    sample.main([str(run), "--max-tokens", "3", "--temperature", "0"])
    assert len(capsys.readouterr().out.splitlines()) >= 2
