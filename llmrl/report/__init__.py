"""``report.html``: one self-contained page that shows a run or compares several."""

from llmrl.report.page import write_report

__all__ = ["write_report"]
