"""Does the program in a completion pass its tests? Its last fenced block, run in a sandbox.

The tests are columns of the data: ``test_list`` (MBPP), ``test`` and ``entry_point`` (HumanEval), or ``inputs`` and
``outputs``; see ``llmrl.verifiers.code.tests_of``. A ``starter_code`` column, where there is one, begins the program.
"""

from llmrl.rewards import per_sample
from llmrl.verifiers.code import Limits, TestReport, extract_code, run_tests, tests_of

LIMITS = Limits(wall_s=10.0, cpu_s=5.0)
"""Of one program. Edit your copy of this file to change it."""
SANDBOX = "auto"
"""``required`` refuses to run where there is no real isolation."""


@per_sample
def all_passed(completion: str, **columns: object) -> float:
    """1 where every test passes, else 0; 0 too for a completion without a closed fenced block."""
    report = judge(completion, columns)
    return float(report is not None and report.all_passed)


@per_sample
def fraction_passed(completion: str, **columns: object) -> float:
    """The share of tests that pass; 0 for a completion without a closed fenced block."""
    report = judge(completion, columns)
    return report.fraction if report is not None else 0.0


def judge(completion: str, columns: dict) -> TestReport | None:
    """The verdict; None where the completion holds no program. Raises VerifierError for a row without tests."""
    tests, program = tests_of(columns), extract_code(completion)
    if program is None:
        return None
    return run_tests((columns.get("starter_code") or "") + program, tests, limits=LIMITS, sandbox=SANDBOX)
