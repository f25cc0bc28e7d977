"""Metrics where people look at them, and cards that say what was measured."""

from pathlib import Path

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from llmrl.errors import UserError
from llmrl.trainers.card import model_card
from llmrl.trainers.trackers import Trackers, check_trackers

CONFIG = {
    "model": {"name": "org/base", "lora_rank": 8},
    "data": {"name": "rows.jsonl", "heldout": "other.jsonl"},
    "rewards": {"functions": {"rewards/a.py:first": 1.0, "rewards/b.py:second": 1.0}, "accuracy": "second"},
    "sampling": {"temperature": 0.7},
    "train": {"steps": 9},
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_gets_every_step_and_forgets_what_a_resume_takes_back(tmp_path: Path) -> None:
    for after, steps in ((0, (1, 2, 3)), (2, (3, 4))):
        with Trackers(["tensorboard"], tmp_path, CONFIG, after=after) as trackers:
            for step in steps:
                trackers.log({"reward": step + after / 10}, step)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, round(e.value, 3)) for e in events.Scalars("reward")] == [(1, 1), (2, 2), (3, 3.2), (4, 4.2)]


def test_trackers_are_checked_by_name_and_presence() -> None:
    check_trackers(["tensorboard"])
    with pytest.raises(UserError, match="'tb' is none of"):
        check_trackers(["tb"])
    with pytest.raises(UserError, match="clearml is not installed; pip install clearml"):
        check_trackers(["clearml"])


def test_the_card_says_what_was_measured_and_is_what_the_hub_reads() -> None:
    card = model_card(CONFIG, 9, {"accuracy": 0.25, "greedy": 0.3}, {"accuracy": 0.5, "greedy": 0.75}, "my-run")
    _, header, body = card.split("---\n", 2)
    assert yaml.safe_load(header)["base_model"] == "org/base"
    assert yaml.safe_load(header)["library_name"] == "peft"
    assert "| accuracy | 0.250 | 0.500 |" in body
    assert "| greedy | 0.300 | 0.750 |" in body
    assert "steps: 9" in body
    assert "AutoPeftModelForCausalLM" in body
    assert "Taken on `other.jsonl`" in body
    assert "the mean of the reward `second`" in body
    assert "temperature 0.7" in body
    assert "Nothing else was measured" in body


def test_a_card_without_measures_says_so() -> None:
    whole = {**CONFIG, "model": {"name": "org/base", "lora_rank": 0}}
    card = model_card(whole, 9, {}, {}, "my-run")
    assert "None were taken." in card
    assert "library_name: transformers" in card
