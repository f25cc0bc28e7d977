"""What a step is measured by, and what the first batch warns of."""

from helpers import make_group

from llmrl.metrics import completion_metrics, completion_rows, first_batch_warnings, token_count

GROUPS = [
    make_group([2, 3], [[4, 5, 6], [7]], [1.0, float("nan")], cut=[0]),
    make_group([2], [[4], [5, 6]], [0, 1]),
]


def test_lengths_are_counted_in_tokens() -> None:
    found = completion_metrics(GROUPS)
    assert found["completions/total_tokens"] == 7
    assert found["completions/mean_length"] == 7 / 4
    assert (found["completions/min_length"], found["completions/max_length"]) == (1, 3)
    assert found["completions/max_terminated_length"] == 2
    assert found["completions/clipped_ratio"] == 1 / 4
    assert token_count(GROUPS) == 7 + 2 * 2 + 2 * 1


def test_a_record_a_completion() -> None:
    rows = completion_rows(GROUPS, 3, [0.5, 0.0, -1.0, 1.0])
    assert [row["reward"] for row in rows] == [1.0, None, 0, 1]
    assert [row["advantage"] for row in rows] == [0.5, 0.0, -1.0, 1.0]
    assert [row["sample"] for row in rows] == [0, 1, 0, 1]
    assert {row["step"] for row in rows} == {3}
    assert completion_rows(GROUPS, 3, None)[0]["advantage"] is None


def test_the_first_batch_warns_of_what_cannot_work() -> None:
    fine = {"completions/clipped_ratio": 0.1, "frac_reward_zero_std": 0.2, "reward_std": 0.4}
    assert first_batch_warnings(fine) == []
    assert "max_tokens" in first_batch_warnings({**fine, "completions/clipped_ratio": 1.0})[0]
    assert "60%" in first_batch_warnings({**fine, "completions/clipped_ratio": 0.6})[0]
    assert len(first_batch_warnings({**fine, "frac_reward_zero_std": 1.0, "reward_std": 0.0})) == 2
