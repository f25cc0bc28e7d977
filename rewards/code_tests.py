"""Does the program in a completion pass its tests? The last fenced block, run in a sandbox.

The tests are columns of the data, in any of three forms:

- ``test_list``, and optionally ``test_imports`` and ``test_setup_code``: assert statements (MBPP);
- ``test`` and ``entry_point``: source with a function ``check`` (HumanEval). Where the data has a column
  ``starter_code`` (signature and docstring), the program is that and the block after it;
- ``inputs`` and ``outputs``: lists of texts for standard input and output (programming contests).
"""

from llmrl.errors import VerifierError
from llmrl.rewards import per_sample
from llmrl.verifiers.code import Asserts, CheckFunction, InputOutput, Limits, TestReport, Tests, extract_code, run_tests

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
    tests = tests_of(columns)
    program = extract_code(completion)
    if program is None:
        return None
    return run_tests((columns.get("starter_code") or "") + program, tests, limits=LIMITS, sandbox=SANDBOX)


def tests_of(columns: dict) -> Tests:
    """The row's tests, in whichever form it has them."""
    if columns.get("test_list"):
        setup = [*(columns.get("test_imports") or []), columns.get("test_setup_code") or ""]
        return Asserts(columns["test_list"], setup="\n".join(setup))
    if columns.get("test"):
        return CheckFunction(columns["test"], columns["entry_point"], prompt=columns.get("starter_code") or "")
    if columns.get("inputs"):
        return InputOutput(list(zip(columns["inputs"], columns["outputs"], strict=True)))
    raise VerifierError("the row has no tests: none of the columns test_list, test, inputs")
