from __future__ import annotations

import asyncio
import math
import threading
import time
from pathlib import Path

import pytest

from llmrl.errors import UserError
from llmrl.rewards import per_sample, per_step
from llmrl.scoring import RewardsFailing, Scorer, reward_metrics
from llmrl.types import Completion, Group, Prompt, StepReward
from llmrl.verifiers.watchdog import RewardHang

NAUGHTY = str(Path(__file__).parent / "verifiers" / "naughty.py")


def completion(text: str) -> Completion:
    """One token a character."""
    n = len(text)
    return Completion([ord(c) for c in text], [0.0] * n, [True] * n, text, "stop", [0] * n)


def group(*texts: str, id: str = "p", content="2+2?", **columns) -> Group:
    prompt = Prompt(id, content, columns.pop("answer", None), columns)
    return Group(prompt, [1], tuple(map(completion, texts)))


def token_ends(completion: Completion) -> list[int]:
    return list(range(1, len(completion.text) + 1))


def length(completions, **columns):
    return [float(len(c)) for c in completions]


@per_sample
def correct(completion, answer):
    return float(completion == answer)


def test_rewards_are_weighted_sums_and_parts_are_not() -> None:
    with Scorer({length: 0.5, correct: 2.0}) as scorer:
        first, second = scorer([group("4", "55", answer="4"), group("777", answer="777", id="q")])
    assert first.rewards == (2.5, 1.0)
    assert first.parts == {"length": (1.0, 2.0), "correct": (1.0, 0.0)}
    assert second.rewards == (3.5,)
    assert first.failures == second.failures == ()
    assert first.steps == ()
    assert first.prompt.id == "p"


def test_none_drops_the_term_and_a_row_without_any_is_nan_but_no_failure() -> None:
    @per_sample
    def sometimes(completion):
        return 1.0 if completion == "yes" else None

    with Scorer({sometimes: 1.0}) as alone, Scorer({sometimes: 1.0, length: 1.0}) as both:
        [one], [two] = alone([group("yes", "no")]), both([group("yes", "no")])
    assert one.rewards[0] == 1.0
    assert math.isnan(one.rewards[1])
    assert one.failures == ()
    assert two.rewards == (4.0, 2.0)
    assert two.parts["sometimes"] == (1.0, None)


@pytest.mark.parametrize(
    ("name", "bad", "reason"),
    [
        ("fail", "fail", "ValueError: two lines"),
        ("die", "die", "exit status 3"),
        ("forever", "loop", "longer than the limit of 0.5 s"),
    ],
)
def test_only_the_guilty_row_fails_in_the_pool(name: str, bad: str, reason: str) -> None:
    with Scorer({f"{NAUGHTY}:{name}": 1.0}, timeout_s=0.5, max_failure_share=0.2, workers=2) as scorer:
        first, second = scorer([group("a", "b", "c"), group("d", bad, "f", id="q")])
    assert first.rewards == (1.0, 1.0, 1.0)
    assert (second.rewards[0], second.rewards[2]) == (1.0, 1.0)
    assert math.isnan(second.rewards[1])
    assert second.parts[name] == (1.0, None, 1.0)
    [failure] = second.failures
    assert (failure.reward, failure.prompt_id, failure.sample, failure.text) == (name, "q", 1, bad)
    assert reason in failure.reason


def test_only_the_guilty_row_fails_in_this_process() -> None:
    def fragile(completions):
        assert "bad" not in completions, "told so"
        return [1.0] * len(completions)

    @per_sample
    def picky(completion):
        return math.nan if completion == "c" else 1.0

    with Scorer({fragile: 1.0, picky: 1.0}, max_failure_share=0.5) as scorer:
        [scored] = scorer([group("a", "bad", "c", "d")])
    assert scored.parts == {"fragile": (1.0, None, 1.0, 1.0), "picky": (1.0, 1.0, None, 1.0)}
    assert [math.isnan(r) for r in scored.rewards] == [False, True, True, False]
    assert [f.reason for f in scored.failures][1] == "returned nan, which is not a finite number"
    assert scored.failures[0].reason.startswith("AssertionError: told so")


def test_a_wrong_length_is_a_failure_of_rows_and_not_a_shift() -> None:
    def short_by_one(completions):
        return [1.0] * max(1, len(completions) - 1)

    def always_two(completions):
        return [1.0, 1.0]

    with Scorer({short_by_one: 1.0}) as scorer:
        assert scorer([group("a", "b")])[0].rewards == (1.0, 1.0)  # right when called row by row
    with Scorer({always_two: 1.0}, max_failure_share=1.0) as scorer:
        [scored] = scorer([group("a", "b", "c")])
    assert [f.reason for f in scored.failures] == ["returned 2 values for 1 completions"] * 3


def test_too_many_failures_stop_the_run_and_name_the_culprit() -> None:
    groups = [group("ok", "ok", "ok"), group("fail", "fail", "ok", id="p7")]
    with (
        Scorer({f"{NAUGHTY}:fail": 1.0}, max_failure_share=0.2) as scorer,
        pytest.raises(RewardsFailing) as stopped,
    ):
        scorer(groups)
    message = str(stopped.value)
    assert message.startswith("reward 'fail' failed on 2 of 6 completions, more than the 20% allowed")
    assert "prompt 'p7': ValueError: two lines" in message
    assert "'fail'" in message.rpartition("begins")[2]
    assert "\n" not in message


def test_the_allowed_share_may_fail() -> None:
    with Scorer({f"{NAUGHTY}:fail": 1.0}, max_failure_share=0.5) as scorer:
        assert len(scorer([group("fail", "ok")])[0].failures) == 1


def test_a_run_that_stops_does_not_wait_for_every_hang() -> None:
    start = time.monotonic()
    with (
        Scorer({f"{NAUGHTY}:forever": 1.0}, timeout_s=0.4, workers=2) as scorer,
        pytest.raises(RewardsFailing),
    ):
        scorer([group(*["loop"] * 30) for _ in range(2)])
    assert time.monotonic() - start < 6.0


def test_a_run_that_stops_kills_what_still_runs() -> None:
    start = time.monotonic()
    with (
        Scorer({f"{NAUGHTY}:fail_or_loop": 1.0}, timeout_s=30.0, workers=2) as scorer,
        pytest.raises(RewardsFailing, match="ValueError"),
    ):
        scorer([group("fail"), group("loop")])
    assert time.monotonic() - start < 10.0


def test_a_callable_that_hangs_stops_the_run() -> None:
    release = threading.Event()

    def stuck(completions):
        release.wait()

    message = r"'stuck' did not return within 0\.1 s.*file\.py:stuck"
    with Scorer({stuck: 1.0}, timeout_s=0.1) as scorer, pytest.raises(RewardHang, match=message):
        scorer([group("a")])
    release.set()


def test_a_slow_callable_that_moves_is_not_a_hang() -> None:
    @per_sample
    def slow(completion):
        time.sleep(0.1)
        return 1.0

    with Scorer({slow: 1.0}, timeout_s=0.5) as scorer:
        assert scorer([group(*"abcdef")])[0].rewards == (1.0,) * 6


def test_a_system_exit_in_a_callable_is_a_failure() -> None:
    def leave(completions):
        raise SystemExit(1)

    with Scorer({leave: 1.0}, max_failure_share=1.0) as scorer:
        assert scorer([group("a")])[0].failures[0].reason.startswith("SystemExit: 1")


def test_async_callables_run_side_by_side() -> None:
    @per_sample
    async def judge(completion):
        await asyncio.sleep(0.1)
        return float(len(completion))

    start = time.monotonic()
    with Scorer({judge: 1.0}) as scorer:
        assert scorer([group("a", "bb"), group(*["ccc"] * 20)])[0].rewards == (1.0, 2.0)
    assert time.monotonic() - start < 1.0


def test_the_pool_scores_in_order_whatever_the_split() -> None:
    groups = [group(*("x" * (7 * i + j) for j in range(3))) for i in range(7)]
    expected = [tuple(float(7 * i + j) for j in range(3)) for i in range(7)]
    for workers in (1, 2, 3):
        with Scorer({f"{NAUGHTY}:length": 1.0, f"{NAUGHTY}:judge": 1.0}, workers=workers) as scorer:
            scored = scorer(groups)
            assert [g.parts["length"] for g in scored] == expected
            assert [g.parts["judge"] for g in scored] == expected


def test_chat_prompts_reach_the_pool() -> None:
    chat = group("a", content=({"role": "user", "content": "hi"},))
    with Scorer({f"{NAUGHTY}:length": 1.0}, workers=1) as scorer:
        assert scorer([chat])[0].rewards == (1.0,)  # one message


def test_nothing_to_score() -> None:
    with Scorer({length: 1.0}) as scorer:
        assert scorer([]) == []
        assert scorer([group()])[0].rewards == ()


def test_rewards_cannot_change_the_record() -> None:
    def vandal(prompts, completion_ids):
        prompts[0][0]["content"] = "gone"
        completion_ids[0].clear()
        return [1.0]

    chat = group("abc", content=({"role": "user", "content": "hi"},))
    with Scorer({vandal: 1.0}) as scorer:
        scorer([chat])
    assert chat.prompt.content[0] == {"role": "user", "content": "hi"}
    assert len(chat.completions[0].tokens) == 3


def test_check_finds_a_missing_column_before_anything_is_scored() -> None:
    with Scorer({correct: 1.0}) as scorer:
        scorer.check([group(answer="4").prompt])
        with pytest.raises(UserError, match=r"reward 'correct' needs 'answer'.*there is: .*level"):
            scorer.check([group(level=1).prompt])
    with (
        Scorer({f"{NAUGHTY}:nothing": 1.0}) as scorer,
        pytest.raises(UserError, match="no function 'nothing'"),
    ):
        scorer.check([])


def test_names_must_differ() -> None:
    with pytest.raises(UserError, match="2 rewards are called 'length'"):
        Scorer({length: 1.0, f"{NAUGHTY}:length": 1.0})
    with pytest.raises(UserError, match="no reward function"):
        Scorer({})


def test_process_rewards_fall_on_the_token_that_ends_the_step() -> None:
    @per_step()
    def lines(steps, answer):
        return [1.0 if step == answer else -1.0 for step in steps]

    def pairs(completion):
        """Tokens of two characters, and one of none at the end, as a stop token is."""
        n = len(completion.text)
        return [*range(2, n, 2), n, n]

    with Scorer({lines: 0.5, length: 1.0}, token_ends=pairs) as scorer:
        [scored] = scorer([group("4\n55\n4", "", answer="4")])
    assert scored.steps == ((StepReward(0, 0.5), StepReward(2, -0.5), StepReward(2, 0.5)), ())
    assert scored.parts["lines"] == (1.0, 0.0)
    assert scored.rewards == (6.5, 0.0)


def test_failed_steps_leave_none() -> None:
    @per_step()
    def lines(steps):
        return [1.0]

    with Scorer({lines: 1.0}, token_ends=token_ends, max_failure_share=0.5) as scorer:
        [scored] = scorer([group("a", "a\nb")])
    assert scored.steps == ((StepReward(0, 1.0),), ())
    assert scored.failures[0].reason == "returned 1 values for 2 steps"


def test_one_per_step_reward_and_only_with_token_positions() -> None:
    @per_step()
    def one(steps): ...

    @per_step()
    def two(steps): ...

    with pytest.raises(UserError, match="only one reward can be per step, not one and two"):
        Scorer({one: 1.0, two: 1.0}, token_ends=token_ends).check([])
    with pytest.raises(UserError, match="where tokens end"):
        Scorer({one: 1.0}).check([])


def test_metrics() -> None:
    @per_sample
    def half(completion):
        return None if completion == "none" else float(completion)

    def picky(completions):
        if "4" in completions:
            raise ValueError
        return [None if c == "none" else 0.0 for c in completions]

    groups = [group("1", "1"), group("2", "none"), group("4", "0")]
    with Scorer({half: 1.0, picky: 1.0}, max_failure_share=0.2) as scorer:
        metrics = reward_metrics(scorer(groups))
    # rewards 1, 1 | 2, NaN | NaN (failed), 0
    assert metrics.pop("reward_std") == pytest.approx(math.sqrt(2 / 3))
    assert metrics.pop("rewards/half/std") == pytest.approx(math.sqrt(9.2 / 4))
    assert metrics == {
        "reward": 1.0,
        "frac_reward_zero_std": 1.0,
        "rewards/half/mean": 1.6,
        "rewards/half/failed": 0.0,
        "rewards/half/timeout": 0.0,
        "rewards/picky/mean": 0.0,
        "rewards/picky/std": 0.0,
        "rewards/picky/failed": 1.0,
        "rewards/picky/timeout": 0.0,
    }


def test_what_ran_out_of_time_is_counted_apart() -> None:
    with Scorer({f"{NAUGHTY}:fail_or_loop": 1.0}, timeout_s=0.5, max_failure_share=1.0) as scorer:
        scored = scorer([group("fail", "loop", "fine")])
    metrics = reward_metrics(scored)
    assert (metrics["rewards/fail_or_loop/failed"], metrics["rewards/fail_or_loop/timeout"]) == (2, 1)
    assert [failure.timed_out for failure in scored[0].failures] == [False, True]


def test_what_comes_first_is_scored_while_the_rest_is_being_made() -> None:
    started = threading.Event()

    @per_sample
    def watched(completion):
        started.set()
        return float(len(completion))

    with Scorer({watched: 1.0, f"{NAUGHTY}:length": 1.0}) as scorer:
        scoring = scorer.start()
        scoring.add([group("a", "bb"), group("ccc")])
        assert started.wait(timeout=30), "the reward waits for the rest"
        scoring.add([group("dddd", id="late")])
        scored = scoring.result()
    assert [g.rewards for g in scored] == [(2.0, 4.0), (6.0,), (8.0,)]
    assert [g.prompt.id for g in scored] == ["p", "p", "late"]


def test_metrics_of_groups_that_differ() -> None:
    with Scorer({length: 1.0}) as scorer:
        metrics = reward_metrics(scorer([group("a", "bb"), group("cc", "dd")]))
    assert metrics["frac_reward_zero_std"] == 0.5
    assert metrics["reward"] == 1.75


def test_metrics_of_nothing() -> None:
    metrics = reward_metrics([])
    assert set(metrics) == {"reward", "reward_std", "frac_reward_zero_std"}
    assert all(map(math.isnan, metrics.values()))
