"""The life of a run, whatever is trained: start or resume, step, evaluate, save, stop, finish."""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from llmrl import checkpoint, distributed
from llmrl.errors import Interrupted
from llmrl.report import write_report
from llmrl.trainers.card import model_card
from llmrl.trainers.config import TrainConfig
from llmrl.trainers.run import Interrupts, Progress, RunFolder, say
from llmrl.trainers.trackers import Trackers

VERSIONS = ("llmrl", "torch", "transformers", "accelerate", "peft")


class Trainer(Protocol):
    """What the loop needs of a trainer."""

    def train_step(self, step: int) -> dict[str, float]:
        """Train once more; ``step`` counts from 1."""
        ...

    def evaluate(self, *, full: bool) -> dict[str, float]:
        """Held-out measures; ``accuracy`` decides which model is best. Without ``full``, that alone."""
        ...

    def save(self, folder: Path) -> None:
        """Everything that the next step depends on; called on every rank."""
        ...

    def load(self, folder: Path) -> None:
        """Restore what ``save`` wrote."""
        ...

    def save_model(self, folder: Path) -> None:
        """The model as a user loads it; called on the main rank."""
        ...


@dataclass
class LoopState:
    """How far a run has come."""

    step: int = 0
    wall_s: float = 0.0
    before: dict[str, float] = field(default_factory=dict)
    best_accuracy: float = -math.inf
    best_step: int = 0
    sizes: dict[str, int] = field(default_factory=lambda: {"metrics": 0, "completions": 0})


class Loop:
    """Runs a trainer in a run folder."""

    def __init__(self, trainer: Trainer, run: RunFolder, config: TrainConfig, record: Mapping[str, Any]) -> None:
        self.trainer = trainer
        self.run = run
        self.config = config
        self.record = record
        self.state = LoopState()

    def __call__(self) -> dict[str, Any]:
        """To the end or to an interruption; returns the summary that it also writes."""
        with Interrupts() as interrupts:
            self._start()
            progress = Progress(self.config.steps, self.state.step)
            with Trackers(self.config.trackers, self.run.path, self.record, after=self.state.step) as trackers:
                while self.state.step < self.config.steps:
                    self._step(progress, trackers)
                    if interrupts.requested:
                        self._stop(interrupts, progress)
            progress.close()
            return self._finish()

    def _start(self) -> None:
        self.run.open(self.record)
        self.begin = time.perf_counter()
        found = checkpoint.latest(self.run.checkpoints)
        if found is not None:
            self.state = LoopState(**checkpoint.read_json(found / "loop.json"))
            self.trainer.load(found)
            self.begin -= self.state.wall_s
            say(f"continuing {self.run.path} after step {self.state.step}")
        if distributed.is_main():
            self.run.cut(self.state.sizes)
        distributed.barrier()
        if found is None:
            self.state.before = self.trainer.evaluate(full=True)
            say(f"run folder: {self.run.path}")
            say(_evaluation("before training", self.state.before))
            self._save()
        if distributed.is_main():
            checkpoint.check_space(self.run.checkpoints, self.config.keep_last)

    def _step(self, progress: Progress, trackers: Trackers) -> None:
        self.state.step += 1
        metrics = self.trainer.train_step(self.state.step)
        if _due(self.state.step, self.config.eval_every):
            metrics |= self._evaluate()
        metrics["wall_s"] = time.perf_counter() - self.begin
        trackers.log(metrics, self.state.step)
        if distributed.is_main():
            self.run.metrics.write([{"step": self.state.step, **metrics}])
        progress.step(self.state.step, metrics)
        if _due(self.state.step, self.config.save_every):
            self._save()

    def _evaluate(self) -> dict[str, float]:
        measured = self.trainer.evaluate(full=False)
        say(_evaluation(f"after step {self.state.step}", measured))
        accuracy = measured.get("accuracy", -math.inf)
        if accuracy > self.state.best_accuracy:
            self.state.best_accuracy, self.state.best_step = accuracy, self.state.step
            self._write_model("best", measured)
        return {f"eval_{name}": value for name, value in measured.items()}

    def _stop(self, interrupts: Interrupts, progress: Progress) -> None:
        progress.close()
        self._save()
        self._report()
        say(f"saved step {self.state.step}; continue with --train.resume auto --train.output-dir {self.run.path}")
        raise Interrupted(interrupts.received or 15)

    def _finish(self) -> dict[str, Any]:
        after = self.trainer.evaluate(full=True)
        self._write_model("final", after)
        self._save()
        summary: dict[str, Any] = {
            "seed": self.config.seed,
            "steps": self.state.step,
            **{f"{name}_before": value for name, value in self.state.before.items()},
            **{f"{name}_after": value for name, value in after.items()},
        }
        if self.state.best_step:
            summary |= {"best_accuracy": self.state.best_accuracy, "best_step": self.state.best_step}
        summary |= {
            "wall_s": time.perf_counter() - self.begin,
            "processes": distributed.world_size(),
            "versions": {"python": platform.python_version(), **{name: version(name) for name in VERSIONS}},
        }
        say(_evaluation("before training", self.state.before))
        say(_evaluation("after training", after))
        say(f"finished in {summary['wall_s']:.0f} s; the model is in {self.run.path / 'final'}")
        if distributed.is_main():
            if self.config.completions == "parquet":
                self.run.completions.to_parquet()
            checkpoint.write_text(self.run.summary, json.dumps(summary, indent=2) + "\n")
        self._report()
        distributed.barrier()
        return summary

    def _report(self) -> None:
        if distributed.is_main():
            write_report([self.run.path], self.run.report)
            say(f"the report is {self.run.report}")

    def _write_model(self, name: str, measured: Mapping[str, float]) -> None:
        """The model with its card; ``measured`` is what its held-out evaluation gave."""
        card = model_card(self.record, self.state.step, self.state.before, measured, self.run.path.name)

        def fill(folder: Path) -> None:
            self.trainer.save_model(folder)
            (folder / "README.md").write_text(card)

        if distributed.is_main():
            checkpoint.write_folder(self.run.path / name, fill)

    def _save(self) -> None:
        self.state.wall_s = time.perf_counter() - self.begin
        self.state.sizes = self.run.sizes
        folder = self.run.checkpoints / f"step-{self.state.step:06d}"

        def fill(partial: Path) -> None:
            self.trainer.save(partial)
            (partial / "loop.json").write_text(json.dumps(asdict(self.state)))

        if distributed.is_main():
            checkpoint.write_folder(folder, fill)
            checkpoint.prune(self.run.checkpoints, self.config.keep_last)
        else:
            self.trainer.save(folder)  # gives its part, and writes nothing
        distributed.barrier()


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _evaluation(when: str, measured: Mapping[str, float]) -> str:
    if not measured:
        return f"{when}: no held-out problems to evaluate"
    return f"{when}: " + ", ".join(f"held-out {name} {value:.3f}" for name, value in measured.items())
