"""What stands in a report: which curves, which completions, which runs together, and that nothing breaks it."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT
from report_runs import GROUP, finish, make_run

from llmrl.errors import UserError
from llmrl.report import write_report
from llmrl.report.completions import LONGEST, read_completions
from llmrl.report.curves import bucket_width, catalogue, read_metrics, thin

PLENTY = 10**9


def report(tmp_path: Path, *runs: Path) -> tuple[str, dict[str, Any]]:
    """The page of these runs, and the data in it as a browser reads them."""
    output = tmp_path / "report.html"
    write_report(runs, output)
    page = output.read_text()
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return page, json.loads(found[1])


def write_lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_page_of_a_finished_run(tmp_path: Path) -> None:
    page, data = report(tmp_path, make_run(tmp_path / "run"))
    (run,) = data["runs"]
    assert run["measures"] == {
        "accuracy": {"before": 0.25, "after": 0.75, "step": 12},
        "greedy": {"before": 0.5, "after": 0.875, "step": 12},
    }
    assert (run["steps"], run["wall_s"], run["completions"], run["failed"]) == (12, 30.0, 48, 1)
    assert data["completions"]["count"] == 48
    assert run["curves"]["wall_s"] == [2 * step for step in range(13)]
    assert run["curves"]["num_tokens"] == [100 * step for step in range(13)]
    assert {"key": "train.seed", "values": ["0"]} in data["config"]
    assert "<title>run · llmrl</title>" in page
    assert not list(tmp_path.glob(".partial*"))


def test_a_clock_is_preferred_to_summed_step_times(tmp_path: Path) -> None:
    rows = [{"step": s, "step_time": 1.0, "wall_s": 10.0 * s} for s in (1, 2, 3)]
    curves = thin(read_metrics(write_lines(tmp_path / "metrics.jsonl", rows)), 1)
    assert curves["wall_s"] == [10, 20, 30]
    assert set(curves["values"]) == {"step_time"}


def test_buckets_keep_means_and_extremes(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=1000)
    values[123], values[777] = 50.0, -50.0
    rows = [{"step": i + 1, "loss": float(value)} for i, value in enumerate(values)]
    curves = thin(read_metrics(write_lines(tmp_path / "metrics.jsonl", rows)), 20)
    loss = curves["values"]["loss"]
    assert curves["step"] == list(range(20, 1001, 20))
    assert (max(loss["high"]), min(loss["low"])) == (50.0, -50.0)
    np.testing.assert_allclose(loss["mean"], values.reshape(-1, 20).mean(1), rtol=1e-4)
    np.testing.assert_allclose(loss["high"], values.reshape(-1, 20).max(1), rtol=1e-4)


def test_a_bucket_without_a_value_is_a_gap_and_a_part_of_one_counts_what_is_there(tmp_path: Path) -> None:
    rows = [{"step": s, **({"eval_accuracy": s / 10} if s in (2, 7) else {})} for s in range(1, 9)]
    curves = thin(read_metrics(write_lines(tmp_path / "metrics.jsonl", rows)), 2)
    assert curves["values"]["eval_accuracy"]["mean"] == [0.2, None, None, 0.7]


def test_the_width_of_buckets_holds_every_run_to_the_same_steps(tmp_path: Path) -> None:
    def metrics(name: str, steps: int) -> Any:
        rows = [{"step": s, "a": 1.0, "b": 1.0} for s in range(1, steps + 1)]
        return read_metrics(write_lines(tmp_path / name, rows))

    long, brief = metrics("long", 4000), metrics("brief", 30)
    assert bucket_width([brief], PLENTY) == 1
    assert bucket_width([long, brief], PLENTY, most=1000) == 4
    assert bucket_width([long], numbers=1200) == 4000 // 200
    assert bucket_width([], PLENTY) == 1


def test_what_is_not_finite_is_named_and_left_out(tmp_path: Path) -> None:
    rows = [{"step": 1, "loss": 1.0}, {"step": 2, "loss": float("nan")}, {"step": 3, "loss": float("inf")}]
    metrics = read_metrics(write_lines(tmp_path / "metrics.jsonl", rows))
    assert metrics.not_finite == {"loss": (2, 2)}
    assert thin(metrics, 1)["values"]["loss"]["mean"] == [1, None, None]


def test_unknown_metrics_are_offered_and_constant_ones_not_opened(tmp_path: Path) -> None:
    rows = [{"step": s, "episode_return": s, "value_loss": -s, "buffer/size": s, "gamma": 0.9} for s in (1, 2)]
    found = catalogue([read_metrics(write_lines(tmp_path / "metrics.jsonl", rows))])
    assert [(m["name"], m["section"], m["open"]) for m in found] == [
        ("episode_return", "Reward", True),
        ("value_loss", "Update", True),
        ("buffer/size", "Other", True),
        ("gamma", "Other", False),
    ]


def test_runs_that_differ_in_the_seed_are_one_group(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / f"a{seed}", seed=seed) for seed in (0, 1)]
    _, alone = report(tmp_path, *runs)
    assert alone["groups"] == [{"label": "seeds 0, 1", "runs": [0, 1]}]
    _, data = report(tmp_path, runs[0], make_run(tmp_path / "b", kl_coef=0.5), runs[1])
    assert data["groups"] == [{"label": "kl_coef 0.0", "runs": [0, 2]}, {"label": "kl_coef 0.5", "runs": [1]}]


def test_runs_of_one_name_are_told_apart_and_one_given_twice_is_shown_once(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / parent / "run", kl_coef=float(parent)) for parent in "12"]
    _, data = report(tmp_path, *runs, runs[0])
    assert [run["name"] for run in data["runs"]] == ["1/run", "2/run"]


def test_text_from_a_run_cannot_leave_its_place(tmp_path: Path) -> None:
    run = make_run(tmp_path / "<b>$title")
    hostile = "</script><script>alert(1)</script><!-- $bokeh \u2028 \ud800"
    write_lines(run / "completions.jsonl", [{"step": 1, "completion": hostile, "prompt": hostile, "reward": 1.0}])
    page, data = report(tmp_path, run)
    assert data["completions"]["columns"]["completion"] == [hostile]
    assert "alert(1)</script>" not in page
    assert "<title>&lt;b&gt;$title · llmrl</title>" in page


def test_a_run_that_has_just_begun(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("train: {steps: 5}\n")
    _, data = report(tmp_path, run)
    assert data["runs"][0]["notes"] == ["no step is written yet", "no completions are logged"]
    assert data["metrics"] == []


def test_a_run_under_way_shows_its_newest_evaluation(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", planned=40)
    for name, half in (("metrics", '{"step": 13, "rew'), ("completions", '{"step": 13, "completion": "half of a li')):
        with (run / f"{name}.jsonl").open("a") as file:
            file.write(half)
    _, data = report(tmp_path, run)
    assert data["runs"][0]["measures"] == {"accuracy": {"before": None, "after": 0.1, "step": 10}}
    assert not data["runs"][0]["finished"]
    assert data["runs"][0]["notes"] == []
    assert data["runs"][0]["steps"] == 12


def test_broken_lines_in_the_middle_are_counted(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", steps=3)
    for name in ("metrics.jsonl", "completions.jsonl"):
        text = (run / name).read_text()
        (run / name).write_text(f"\0\0\n[1, 2]\n{text}")
    _, data = report(tmp_path, run)
    assert data["runs"][0]["notes"] == [
        "left out of metrics.jsonl as unreadable: 2",
        "left out of its completions as unreadable: 2",
    ]
    assert (data["runs"][0]["steps"], data["runs"][0]["completions"]) == (3, 3 * GROUP)


def test_completions_of_a_parquet_file(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    rows = [json.loads(line) for line in (run / "completions.jsonl").read_text().splitlines()]
    _, expected = report(tmp_path, run)
    (run / "completions.jsonl").unlink()
    pq.write_table(pa.Table.from_pylist(rows), run / "completions.parquet")
    assert report(tmp_path, run)[1]["completions"] == expected["completions"]
    whole = (run / "completions.parquet").read_bytes()
    (run / "completions.parquet").write_bytes(whole[: len(whole) // 2])
    notes = ["left out of its completions as unreadable: 1", "no completions are logged"]
    assert report(tmp_path, run)[1]["runs"][0]["notes"] == notes


def test_a_sample_holds_both_ends_the_extremes_the_failures_and_whole_groups(tmp_path: Path) -> None:
    noise = random.Random(1)
    rows = [
        {"step": s, "prompt_id": "p", "sample": i, "reward": noise.random(), "failures": ["died"] * (s == 333)}
        for s in range(1, 1001)
        for i in range(GROUP)
    ]
    rows[1234]["reward"], rows[2345]["reward"], rows[3000]["reward"] = 7.0, -7.0, None
    write_lines(tmp_path / "completions.jsonl", rows)
    sample = read_completions(tmp_path, 240, PLENTY)
    assert (sample.seen, sample.failed, len(sample.rows)) == (4000, GROUP, 240)
    places = [row["step"] * GROUP + row["sample"] for row in sample.rows]
    assert places == sorted(set(places))
    assert {1, 333, 1000} <= {row["step"] for row in sample.rows}
    assert {7.0, -7.0} <= {row["reward"] for row in sample.rows}
    by_step = [row["step"] for row in sample.rows]
    whole = [step for step in set(by_step) if by_step.count(step) == GROUP]
    assert len(whole) > 20
    assert max(np.diff(sorted({0, *whole, 1000}))) < 200
    assert read_completions(tmp_path, 240, PLENTY) == sample


def test_a_budget_of_bytes_is_kept_and_long_texts_are_clipped(tmp_path: Path) -> None:
    rows = [{"step": s, "prompt_id": s, "prompt": "q" * 100, "completion": "x" * 20_000} for s in range(100)]
    write_lines(tmp_path / "completions.jsonl", rows)
    sample = read_completions(tmp_path, 100, 100_000)
    assert 90_000 < len(json.dumps(sample.rows)) < 105_000
    assert f"… {20_000 - LONGEST:,} characters left out …" in sample.rows[0]["completion"]


def test_a_row_and_a_prompt_of_many_rows_are_paid_for_once(tmp_path: Path) -> None:
    rows = [{"step": 1, "prompt_id": 0, "sample": i, "prompt": "q" * 1000, "reward": i} for i in range(12)]
    write_lines(tmp_path / "completions.jsonl", rows)
    price = sum(len(json.dumps({**row, "prompt": None})) for row in rows) + len(json.dumps("q" * 1000)) - len("null")
    assert len(read_completions(tmp_path, 12, price).rows) == 12
    assert len(read_completions(tmp_path, 12, price - 1).rows) == 11


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda run: (run / "config.yaml").unlink(), "is not a run: it has no config.yaml"),
        (lambda run: (run / "config.yaml").write_text("a: [1"), "cannot be read as a run"),
        (lambda run: (run / "config.yaml").write_text("- 1"), "config.yaml or summary.json holds no mapping"),
        (lambda run: (run / "summary.json").write_text("{"), "cannot be read as a run"),
    ],
)
def test_a_folder_without_a_run_is_one_clear_line(tmp_path: Path, break_it: Any, message: str) -> None:
    run = make_run(tmp_path / "run", steps=1)
    break_it(run)
    with pytest.raises(UserError, match=message) as caught:
        write_report([run], tmp_path / "report.html")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "report.html").exists()


def test_no_run_and_no_place_to_write_are_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least one run"):
        write_report([], tmp_path / "report.html")
    with pytest.raises(UserError, match="cannot write"):
        write_report([make_run(tmp_path / "run", steps=1)], tmp_path / "missing" / "report.html")


def test_a_long_run_stays_small(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", steps=1)
    noise = random.Random(0)
    names = [f"metric/{i}" for i in range(45)]
    with (run / "metrics.jsonl").open("w") as file:
        for step in range(1, 20_001):
            values = {name: noise.random() for name in names}
            file.write(json.dumps({"step": step, "num_tokens": 5000 * step, "step_time": 1.5, **values}) + "\n")
    row = {"prompt": "q" * 300, "completion": "c" * 900, "answer": "1", "reward": 1.0, "advantage": 0.1}
    write_lines(run / "completions.jsonl", [{"step": i, "prompt_id": i, **row} for i in range(6000)])
    finish(run, 0, 20_000)
    write_report([run], tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 5e6


@pytest.mark.slow
def test_the_wheel_holds_the_pages_parts(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(ROOT)]
    done = subprocess.run(command, text=True, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    parts = {p.name for p in (ROOT / "llmrl" / "report").iterdir() if p.suffix in {".html", ".css", ".js"}}
    assert len(parts) >= 3
    assert {f"llmrl/report/{name}" for name in parts} <= set(zipfile.ZipFile(wheel).namelist())
