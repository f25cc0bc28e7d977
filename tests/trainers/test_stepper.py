"""Which launches are refused, and what a gradient that is not finite does."""

from pathlib import Path

import pytest
import torch
from accelerate.utils import DistributedType
from helpers import make_policy

from llmrl.errors import UserError
from llmrl.trainers.optim import OptimConfig
from llmrl.trainers.stepper import AccelerateStepper, check_launch, make_accelerator


@pytest.mark.parametrize("kind", [DistributedType.FSDP, DistributedType.DEEPSPEED])
def test_launches_that_cut_the_model_are_refused(kind: DistributedType) -> None:
    with pytest.raises(UserError, match=r"ddp\.yaml"):
        check_launch(kind)


def test_whole_models_in_each_process_are_fine() -> None:
    for kind in (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU):
        check_launch(kind)


def test_a_gradient_that_is_not_finite_stops_before_the_weights_are_touched(model_dir: Path) -> None:
    policy = make_policy(model_dir)
    stepper = AccelerateStepper(make_accelerator(), policy, OptimConfig(), 1)
    before = [p.clone() for p in policy.trainable().values()]
    stepper.backward(torch.stack([p.sum() for p in policy.trainable().values()]).sum() * float("nan"))
    with pytest.raises(UserError, match="gradient norm is nan"):
        stepper.step()
    assert all(torch.equal(a, b) for a, b in zip(before, policy.trainable().values(), strict=True))


def test_the_schedule_warms_up_and_is_saved(model_dir: Path) -> None:
    config = OptimConfig(learning_rate=1.0, schedule="linear", warmup_steps=2)
    stepper = AccelerateStepper(make_accelerator(), make_policy(model_dir), config, 4)
    rates = []
    for _ in range(3):
        rates.append(stepper.learning_rate)
        stepper.backward(torch.stack([p.sum() for p in stepper.parameters]).sum())
        stepper.step()
    assert rates == [0.0, 0.5, 1.0]
    other = AccelerateStepper(make_accelerator(), make_policy(model_dir), config, 4)
    other.load_state_dict(stepper.state_dict())
    assert other.learning_rate == stepper.learning_rate == 0.5
