"""Run by test_distributed: the gradient of one step on recorded completions, as this launch computes it.

python gradients_of_a_rank.py MODEL_DIR OUT.pt MICRO_BATCH_TOKENS
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from helpers import make_policy, random_group

from llmrl import distributed
from llmrl.algorithms.grpo import GRPO
from llmrl.policies.reference import make_reference
from llmrl.trainers import batching
from llmrl.trainers.optim import OptimConfig
from llmrl.trainers.stepper import AccelerateStepper, make_accelerator
from llmrl.trainers.update import UpdateMetrics, update
from llmrl.types import Batch, Experience

METHODS = {
    "grpo": GRPO(kl_coef=0.1),
    "tokens": GRPO(weights="token_mean", kl_coef=0),
    "whitened": GRPO(advantages="raw", normalise="batch", weights="token_mean", kl_coef=0),
    "two": GRPO(kl_coef=0.1, num_iterations=2),
}


class Recording(AccelerateStepper):
    """Keeps each optimizer step's gradient."""

    def step(self) -> float:
        self.gradients = [
            *getattr(self, "gradients", []),
            torch.cat([p.grad.flatten() for p in self.parameters]),
        ]
        return super().step()


def main(model_dir: str, out: str, tokens: int) -> None:
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    accelerator = make_accelerator()
    generator = torch.Generator().manual_seed(5)
    everyone = [random_group(generator, longest=4 + 6 * i) for i in range(4)]
    found: dict[str, object] = {"processes": distributed.world_size()}
    for name, algorithm in METHODS.items():
        policy = make_policy(Path(model_dir)).double().to(accelerator.device)
        stepper = Recording(accelerator, policy, OptimConfig(learning_rate=1e-3), 10)
        groups = distributed.share(everyone)
        inputs = batching.token_inputs(groups, policy.device)
        mask = batching.chosen_mask(groups, algorithm, inputs)
        advantages = batching.token_advantages(groups, algorithm, mask, inputs, None)
        batch = Batch(inputs, Experience(mask, advantages, torch.zeros_like(advantages)))
        totals = UpdateMetrics()
        update(
            batching.minibatches(batch, batching.group_ids(groups), algorithm, 1, 30),
            lambda output, experience, algorithm=algorithm: algorithm.loss(output, experience, 0.1),
            stepper,
            totals,
            micro_batch_tokens=tokens,
            num_iterations=algorithm.num_iterations,
            ref_logprobs=make_reference(policy, stepper.forward).logprobs if algorithm.needs_reference else None,
        )
        found[name] = {"gradients": torch.stack(stepper.gradients), "metrics": totals.result()}
    if distributed.is_main():
        torch.save(found, out)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
