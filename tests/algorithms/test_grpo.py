"""Each method is what its paper says, and rows of the table that differ in one column agree where they should."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from conftest import ROOT
from torch import Tensor

import llmrl.functional as F
from llmrl.algorithms.grpo import GRPO
from llmrl.config import build
from llmrl.types import Experience, PolicyOutput

METHODS = sorted((ROOT / "recipes" / "configs" / "methods").glob("*.yaml"))


def method(name: str, **changes: object) -> GRPO:
    """The algorithm of a method's file."""
    values = yaml.safe_load((ROOT / "recipes" / "configs" / "methods" / f"{name}.yaml").read_text())
    return replace(build(GRPO, values["algorithm"]), **changes)


def sample(rows: int = 6, length: int = 5, seed: int = 0) -> tuple[PolicyOutput, Experience, Tensor]:
    """Random log-probs of three groups of two rows with ragged masks; float64; gradient on the log-probs."""
    generator = torch.Generator().manual_seed(seed)
    logprobs = -torch.rand(rows, length, generator=generator, dtype=torch.float64) - 0.1
    old = logprobs + 0.3 * torch.randn(rows, length, generator=generator, dtype=torch.float64)
    ref = logprobs + 0.3 * torch.randn(rows, length, generator=generator, dtype=torch.float64)
    lengths = torch.randint(1, length + 1, (rows,), generator=generator)
    mask = torch.arange(length) < lengths[:, None]
    advantages = torch.randn(rows, 1, generator=generator, dtype=torch.float64) * mask
    leaf = logprobs.requires_grad_()
    entropy = torch.rand(rows, length, generator=generator, dtype=torch.float64)
    experience = Experience(mask, advantages, torch.zeros_like(logprobs), old_logprobs=old, ref_logprobs=ref)
    return PolicyOutput(leaf, entropy), experience, leaf


def weighted(algorithm: GRPO, experience: Experience, max_tokens: int = 7) -> Experience:
    mask = experience.mask
    group_id = torch.arange(len(mask)) // 2
    counts = F.Counts(rows=len(mask), tokens=float(mask.sum()), groups=len(mask) // 2, max_tokens=max_tokens)
    return replace(experience, weights=algorithm.token_weights(mask, group_id, counts).double())


def loss_of(algorithm: GRPO, *, seed: int = 0, length: int = 5, equal_lengths: bool = False) -> tuple[Tensor, Tensor]:
    output, experience, leaf = sample(length=length, seed=seed)
    if equal_lengths:
        mask = torch.ones_like(experience.mask)
        experience = replace(experience, mask=mask, advantages=experience.advantages[:, :1] * mask)
    if not algorithm.needs_reference:
        experience = replace(experience, ref_logprobs=None)
    loss, _ = algorithm.loss(output, weighted(algorithm, experience), algorithm.kl_coef)
    loss.backward()
    assert leaf.grad is not None
    return loss.detach(), leaf.grad


def same(a: GRPO, b: GRPO, **options: object) -> None:
    for one, other in zip(loss_of(a, **options), loss_of(b, **options), strict=True):  # type: ignore[arg-type]
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def by_hand(algorithm: GRPO) -> Tensor:
    """The objective written as loops over rows and tokens, straight from the papers."""
    output, experience, _ = sample()
    output = replace(output, logprobs=output.logprobs.detach())
    assert experience.old_logprobs is not None
    assert experience.ref_logprobs is not None
    rows, tokens = len(experience.mask), int(experience.mask.sum())
    high = 1 + (algorithm.clip_eps if algorithm.clip_eps_high is None else algorithm.clip_eps_high)
    total = torch.zeros((), dtype=torch.float64)
    for i in range(rows):
        n = int(experience.mask[i].sum())
        gap = [float(output.logprobs[i, t] - experience.old_logprobs[i, t]) for t in range(n)]
        for t in range(n):
            lp, a = float(output.logprobs[i, t]), float(experience.advantages[i, t])
            ratio = torch.tensor(sum(gap) / n if algorithm.ratio == "sequence" else gap[t]).double().exp()
            clipped = ratio.clamp(1 - algorithm.clip_eps, high)
            term = {
                "clipped": -torch.minimum(ratio * a, clipped * a),
                "reinforce": torch.tensor(-a * lp).double(),
                "cispo": -clipped * a * lp,
            }[algorithm.surrogate]
            if algorithm.needs_reference and algorithm.kl_in == "loss":
                x = float(experience.ref_logprobs[i, t]) - lp
                term = term + algorithm.kl_coef * (torch.tensor(x).double().exp() - 1 - x)
            mates = int(experience.mask[i // 2 * 2 : i // 2 * 2 + 2].sum())
            share = {
                "sequence_mean": 1 / (rows * n),
                "token_mean": 1 / tokens,
                "group_token_mean": 1 / (rows / 2 * mates),
                "fixed_length_mean": 1 / (rows * 7),
                "sequence_sum": 1 / rows,
            }[algorithm.weights]
            total = total + share * term
    return total


@pytest.mark.parametrize("path", METHODS, ids=lambda p: p.stem)
def test_every_method_is_its_objective_by_hand(path: Path) -> None:
    algorithm = method(path.stem)
    torch.testing.assert_close(loss_of(algorithm)[0], by_hand(algorithm), rtol=1e-6, atol=1e-8)


def test_every_row_of_the_table_has_a_file() -> None:
    names = "cispo dapo dapo_batch dr_grpo grpo gspo reinforce reinforce_pp remax rloo softmax"
    assert sorted(p.stem for p in METHODS) == names.split()


def test_gspo_on_one_token_completions_is_grpo() -> None:
    same(method("gspo"), replace(method("gspo"), ratio="token"), length=1)


def test_dapo_with_equal_bounds_and_equal_lengths_is_grpo_without_kl() -> None:
    grpo = method("grpo", kl_coef=0.0)
    same(method("dapo", clip_eps_high=None), grpo, equal_lengths=True)
    same(method("dapo_batch", clip_eps_high=None), grpo, equal_lengths=True)


def test_dr_grpo_weights_with_full_length_completions_are_grpos() -> None:
    _, experience, _ = sample(length=7)
    full = replace(experience, mask=torch.ones_like(experience.mask))
    torch.testing.assert_close(
        weighted(method("dr_grpo"), full).weights, weighted(method("grpo"), full).weights, rtol=1e-12, atol=0
    )


def test_on_policy_every_clipped_method_has_the_gradient_of_reinforce() -> None:
    for name in ("grpo", "dr_grpo", "dapo", "dapo_batch", "gspo", "cispo", "softmax", "reinforce_pp"):
        algorithm = method(name, kl_coef=0.0, clip_eps_high=0.5, clip_eps=0.5)
        gradients = []
        for surrogate in (algorithm.surrogate, "reinforce"):
            output, experience, leaf = sample()
            experience = replace(experience, old_logprobs=None, ref_logprobs=None)
            chosen = replace(algorithm, surrogate=surrogate)
            chosen.loss(output, weighted(chosen, experience), 0.0)[0].backward()
            gradients.append(leaf.grad)
        torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-10, atol=1e-12)


def test_group_advantages_of_the_rows() -> None:
    rewards, valid = torch.tensor([[1.0, 0.0, 0.0, 1.0]]).double(), torch.ones(1, 4, dtype=torch.bool)
    std = 1 / 3**0.5  # ddof 1
    for name, expected in {
        "grpo": [0.5 / (std + 1e-4), -0.5 / (std + 1e-4)],
        "dr_grpo": [0.5, -0.5],
        "rloo": [1 - 1 / 3, 0 - 2 / 3],
        "reinforce": [1.0, 0.0],
    }.items():
        advantages = method(name).group_advantages(rewards, valid)[0]
        assert advantages[:2].tolist() == pytest.approx(expected, rel=1e-6), name


def test_entropy_bonus_lowers_the_loss_by_its_weighted_entropy() -> None:
    output, experience, _ = sample()
    plain, bonus = method("grpo"), method("grpo", entropy_coef=0.1)
    experience = weighted(plain, experience)
    difference = plain.loss(output, experience, 0.04)[0] - bonus.loss(output, experience, 0.04)[0]
    expected = 0.1 * (experience.weights * output.entropy)[experience.mask].sum()
    torch.testing.assert_close(difference, expected, rtol=1e-10, atol=1e-12)


def test_a_users_formula_fills_a_slot(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def quadratic(logprobs, log_ratio, advantages, bounds):\n    return log_ratio**2\n")
    algorithm = GRPO(surrogate=f"{file}:quadratic", kl_coef=0)
    output, experience, _ = sample()
    assert experience.old_logprobs is not None
    experience = weighted(algorithm, experience)
    expected = ((output.logprobs - experience.old_logprobs) ** 2 * experience.weights)[experience.mask].sum()
    torch.testing.assert_close(algorithm.loss(output, experience, 0.0)[0], expected, rtol=1e-10, atol=1e-12)


def test_logged_sums_are_means_times_tokens() -> None:
    output, experience, _ = sample()
    algorithm = GRPO()
    _, sums = algorithm.loss(output, weighted(algorithm, experience), 0.04)
    mask, old, ref = experience.mask, experience.old_logprobs, experience.ref_logprobs
    assert old is not None
    assert ref is not None
    x = (ref - output.logprobs)[mask]
    torch.testing.assert_close(sums["kl"], (x.exp() - 1 - x).sum(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(sums["entropy"], output.entropy[mask].sum(), rtol=1e-10, atol=1e-12)
    ratio = (output.logprobs - old).exp()
    high = ((ratio > 1.2) & (experience.advantages > 0) & mask).sum()
    low = ((ratio < 0.8) & (experience.advantages < 0) & mask).sum()
    assert float(sums["clip_ratio/high_mean"]) == float(high) > 0
    assert float(sums["clip_ratio/low_mean"]) == float(low) > 0
    assert float(sums["clip_ratio/region_mean"]) == float(low + high)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kl": "k1"}, "no expected gradient"),
        ({"kl": "k4"}, "did you mean"),
        ({"advantages": "standardized"}, "did you mean 'standardised'"),
        ({"group_size": 1}, "nothing to compare"),
        ({"num_iterations": 0}, "at least 1"),
        ({"group_size": 0, "advantages": "raw"}, "at least 1"),
        ({"kl": "k3_weighted", "kl_in": "reward"}, "not one of"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GRPO(**changes)  # type: ignore[arg-type]


def test_kl_controllers() -> None:
    fixed, banded = GRPO(), GRPO(kl_controller="banded", kl_target=0.1)
    assert fixed.next_kl_coef(0.2, 9.0, 64) == 0.2
    assert banded.next_kl_coef(0.2, 0.2, 64) == pytest.approx(0.4)
    assert banded.next_kl_coef(0.2, 0.01, 64) == pytest.approx(0.1)
    assert banded.next_kl_coef(0.2, 0.12, 64) == pytest.approx(0.2)
    proportional = GRPO(kl_controller="proportional", kl_target=0.1, kl_horizon=1000)
    assert proportional.next_kl_coef(0.2, 10.0, 100) == pytest.approx(0.2 * (1 + 0.2 * 100 / 1000))


def test_one_completion_a_prompt_is_enough_without_a_group_baseline() -> None:
    assert GRPO(group_size=1, advantages="raw", baseline="greedy").group_size == 1
    assert GRPO(group_size=2).group_size == 2


@pytest.mark.parametrize(
    ("changes", "reference", "every_row"),
    [
        ({"kl_coef": 0.1}, True, True),
        ({"kl_coef": 0.0}, False, False),
        ({"kl_coef": 0.1, "kl": "k1", "kl_in": "reward"}, True, False),
        ({"kl_coef": 0.0, "entropy_coef": 0.1}, False, True),
        ({"kl_coef": 0.0, "entropy_coef": -0.1}, False, True),
    ],
)
def test_what_needs_the_reference_and_what_needs_rows_without_advantages(
    changes: dict[str, object], reference: bool, every_row: bool
) -> None:
    algorithm = GRPO(**changes)  # type: ignore[arg-type]
    assert algorithm.needs_reference is reference
    assert algorithm.needs_every_row is every_row
