"""One real training step of every method, and the parts of a step that need a trainer."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT
from helpers import make_policy, make_prompts

from llmrl.algorithms.grpo import GRPO
from llmrl.config import load_config
from llmrl.metrics import JsonLines
from llmrl.prompts import DataConfig, make_encoder
from llmrl.rewards import per_step
from llmrl.samplers.hf import HFSampler
from llmrl.scoring import Scorer
from llmrl.trainers.config import LanguageConfig, SamplingConfig, TrainConfig
from llmrl.trainers.language import LanguageTrainer, token_ends
from llmrl.trainers.run import Clock
from llmrl.trainers.stepper import AccelerateStepper, make_accelerator

METHODS = sorted((ROOT / "recipes" / "configs" / "methods").glob("*.yaml"))
PROMPTS = make_prompts(*(f"{i}+{i % 7}=" for i in range(20)))


def digits(completions: list[str], **columns: Any) -> list[float]:
    return [sum(c.isdigit() for c in text) / 8 for text in completions]


def long_enough(completions: list[str], **columns: Any) -> list[float]:
    return [float(len(text) > 3) for text in completions]


@pytest.fixture
def make_trainer(model_dir: Path, tmp_path: Path) -> Iterator[Callable[..., LanguageTrainer]]:
    scorers: list[Scorer] = []

    def make(algorithm: GRPO, reward: Callable[..., Any] = digits, **train: Any) -> LanguageTrainer:
        policy = make_policy(model_dir, noise=0.0)
        config = TrainConfig(prompts_per_step=4, learning_rate=5e-3, steps=10, show_every=0, **train)
        scorers.append(Scorer({reward: 1.0}))
        return LanguageTrainer(
            policy=policy,
            sampler=HFSampler(policy, make_encoder(policy.tokenizer, DataConfig(chat=False))),
            scorer=scorers[-1],
            stepper=AccelerateStepper(make_accelerator(), policy, config, 10),
            prompts=PROMPTS,
            heldout=PROMPTS[:4],
            algorithm=replace(algorithm, group_size=4),
            sampling=SamplingConfig(max_tokens=8),
            train=config,
            accuracy=reward.__name__,
            completions=JsonLines(tmp_path / "completions.jsonl"),
        )

    yield make
    for scorer in scorers:
        scorer.close()


@pytest.mark.parametrize("path", METHODS, ids=lambda p: p.stem)
def test_every_method_takes_a_real_step(path: Path, make_trainer: Callable[..., LanguageTrainer]) -> None:
    trainer = make_trainer(load_config(LanguageConfig, [str(path)]).algorithm)
    before = {name: p.clone() for name, p in trainer.policy.trainable().items()}
    first, second = trainer.train_step(1), trainer.train_step(2)
    assert any(not torch.equal(before[name], p) for name, p in trainer.policy.trainable().items())
    assert first["grad_norm"] > 0
    if trainer.algorithm.needs_reference:
        assert first["kl"] == pytest.approx(0, abs=1e-8)
        assert second["kl"] > 0
    assert first["entropy"] > 0
    assert trainer.policy.version == 2
    assert second["num_tokens"] == trainer.num_tokens > first["num_tokens"]


def test_the_logged_entropy_counts_rows_that_cost_no_forward(make_trainer: Callable[..., LanguageTrainer]) -> None:
    """With every reward equal no row is trained on, yet the entropy is near that of the same step with a KL."""
    constant = lambda completions, **columns: [1.0] * len(completions)  # noqa: E731
    constant.__name__ = "constant"
    skipping = make_trainer(GRPO(kl_coef=0), constant).train_step(1)
    forward = make_trainer(GRPO(kl_coef=1e-9), constant).train_step(1)
    assert skipping["entropy"] == pytest.approx(forward["entropy"], rel=0.25)
    assert skipping["grad_norm"] == 0
    assert skipping["frac_reward_zero_std"] == 1


def test_dynamic_sampling_replaces_groups_without_spread(make_trainer: Callable[..., LanguageTrainer]) -> None:
    plain = make_trainer(GRPO(kl_coef=0), long_enough)
    groups, dropped = plain.collect(1, Clock())
    flat = [g.prompt.id for g in groups if len(set(g.rewards)) == 1]
    assert flat
    assert not dropped
    dynamic = make_trainer(GRPO(kl_coef=0, dynamic_rounds=1), long_enough)
    replaced, dropped = dynamic.collect(1, Clock())
    assert [g.prompt.id for g in dropped] == flat
    assert len(replaced) == len(groups)
    assert dynamic.stream.cursor == plain.stream.cursor + len(flat)
    kept = [g for g in groups if g.prompt.id not in flat]
    assert [g for g in replaced if g.prompt.id in {k.prompt.id for k in kept}] == kept


def test_dynamic_sampling_stops_at_its_cap(make_trainer: Callable[..., LanguageTrainer]) -> None:
    constant = lambda completions, **columns: [1.0] * len(completions)  # noqa: E731
    constant.__name__ = "constant"
    trainer = make_trainer(GRPO(kl_coef=0, dynamic_rounds=2), constant)
    metrics = trainer.train_step(1)
    assert metrics["dynamic/dropped_groups"] == 8
    rows = trainer.completions.path.read_text().splitlines()
    assert len(rows) == 4 * 4 + 8 * 4


def test_several_minibatches_and_iterations_take_as_many_steps(make_trainer: Callable[..., LanguageTrainer]) -> None:
    trainer = make_trainer(GRPO(num_iterations=3, clip_eps=0.01), minibatches=2)
    steps = []
    step = trainer.stepper.step
    trainer.stepper.step = lambda: steps.append(1) or step()  # type: ignore[method-assign]
    metrics = trainer.train_step(1)
    assert len(steps) == 6
    assert metrics["clip_ratio/region_mean"] > 0


def test_the_reference_is_refreshed_every_n_steps(make_trainer: Callable[..., LanguageTrainer]) -> None:
    trainer = make_trainer(GRPO(ref_refresh_every=2))
    kls = [trainer.train_step(step)["kl"] for step in range(1, 4)]
    assert kls[0] == 0
    assert kls[1] > 0
    assert kls[2] == 0


def test_an_adaptive_coefficient_moves(make_trainer: Callable[..., LanguageTrainer]) -> None:
    trainer = make_trainer(GRPO(kl_controller="banded", kl_target=1e-9, kl_coef=0.01))
    logged = [trainer.train_step(step)["kl_coef"] for step in range(1, 4)]
    assert logged[0] == 0.01
    assert logged[2] == pytest.approx(0.01)  # the KL of the first step is 0: halved, and then doubled
    assert trainer.kl_coef == pytest.approx(0.02)


def test_the_logged_kl_does_not_depend_on_the_number_of_iterations(
    make_trainer: Callable[..., LanguageTrainer],
) -> None:
    rloo = GRPO(advantages="leave_one_out", surrogate="reinforce", kl="k1", kl_in="reward", kl_coef=0.1)
    found = []
    for iterations in (1, 3):
        trainer = make_trainer(replace(rloo, num_iterations=iterations))
        with torch.no_grad():
            for parameter in trainer.policy.trainable().values():
                parameter.add_(0.05)
        found.append(trainer.train_step(1)["kl"])
    assert found[1] == pytest.approx(found[0], rel=1e-5)
    assert found[0] > 0


def test_evaluating_does_not_change_training(make_trainer: Callable[..., LanguageTrainer]) -> None:
    plain, evaluated = make_trainer(GRPO()), make_trainer(GRPO())
    plain.train_step(1)
    evaluated.evaluate(full=True)
    evaluated.train_step(1)
    assert evaluated.evaluate(full=False) == evaluated.evaluate(full=False)
    for a, b in zip(plain.policy.parameters(), evaluated.policy.parameters(), strict=True):
        assert torch.equal(a, b)


def test_saved_and_loaded_state_goes_on_as_if_nothing_had_happened(
    make_trainer: Callable[..., LanguageTrainer], tmp_path: Path
) -> None:
    algorithm = GRPO(ref_refresh_every=2, kl_controller="banded", kl_target=1e-6)
    one = make_trainer(algorithm)
    for step in (1, 2, 3):
        one.train_step(step)
    one.save(tmp_path)
    expected = {k: v for k, v in one.train_step(4).items() if "time" not in k and "second" not in k}
    other = make_trainer(algorithm)
    other.load(tmp_path)
    found = {k: v for k, v in other.train_step(4).items() if "time" not in k and "second" not in k}
    assert found == expected


def test_process_rewards_reach_the_tokens_of_their_steps(
    make_trainer: Callable[..., LanguageTrainer], model_dir: Path
) -> None:
    """A score for each character-long step: what ends later counts for every token before it."""

    @per_step(separator="1")
    def short_steps(steps: list[str]) -> list[float]:
        return [1.0 if len(step) < 3 else 0.0 for step in steps]

    trainer = make_trainer(GRPO(kl_coef=0))
    tokenizer = trainer.policy.tokenizer
    with Scorer({short_steps: 1.0}, token_ends=lambda completion: token_ends(tokenizer, completion)) as scorer:
        trainer.scorer, trainer.accuracy = scorer, "short_steps"
        groups, _ = trainer.collect(1, Clock())
        for group in groups:
            for completion, steps, reward in zip(group.completions, group.steps, group.rewards, strict=True):
                assert reward == sum(step.value for step in steps)
                for step in steps[:-1]:
                    assert tokenizer.decode(completion.tokens[step.end]) == "1"
        _, _, advantages = trainer.assemble(groups)
        several = [i for i, steps in enumerate(s for g in groups for s in g.steps) if len(steps) > 1]
        assert any(len(set(advantages[i].tolist()) - {0.0}) > 1 for i in several)
        assert trainer.train_step(1)["grad_norm"] > 0
