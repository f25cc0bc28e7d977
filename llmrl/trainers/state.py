"""What a checkpoint holds of a trainer's tensors and generators."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmrl import checkpoint, distributed
from llmrl.policies.causal_lm import CausalPolicy
from llmrl.trainers.stepper import AccelerateStepper

FILE = "trainer.pt"


def save(
    folder: Path,
    policy: CausalPolicy,
    stepper: AccelerateStepper,
    own: Mapping[str, Any],
    reference: Mapping[str, Tensor],
) -> None:
    """Trained weights, optimizer, schedule, the trainer's ``own`` numbers and every rank's generators.

    Every rank must call it; the main rank writes.
    """
    generators = distributed.gather([checkpoint.rng_state()])
    if distributed.is_main():
        content = {
            "weights": {name: p.detach() for name, p in policy.trainable().items()},
            "stepper": stepper.state_dict(),
            "own": {**own, "version": policy.version},
            "reference": dict(reference),
            "generators": generators,
        }
        torch.save(content, folder / FILE)


def load(folder: Path, policy: CausalPolicy, stepper: AccelerateStepper) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Restore weights, optimizer, schedule and this rank's generators; returns ``own`` and the reference."""
    content = torch.load(folder / FILE, map_location=policy.device, weights_only=True)
    trained = policy.trainable()
    with torch.no_grad():
        for name, tensor in content["weights"].items():
            trained[name].copy_(tensor)
    stepper.load_state_dict(content["stepper"])
    generators = content["generators"]
    if len(generators) == distributed.world_size():
        checkpoint.set_rng_state(generators[distributed.rank()])
    return content["own"], content["reference"]
