"""Does a program do what it should? Untrusted Python, run apart from everything, judged apart from itself.

``run_python`` runs a program, ``run_tests`` judges one. Both can be called from any thread at once, from async code
through ``asyncio.to_thread``, and in any number of processes. Each program gets a fresh process, forked from a small
warm interpreter that never ran one, at the strongest level of isolation that works here (``isolation()``).

No verdict can be forged, because the process that runs a program never has what is expected of it: tests run in
another process, in which a stand-in takes the place of what the program defines. A call sends arguments to the program,
plain data of exact types comes back, and the comparison is made where the program is not. What is no plain data (an
object that claims to equal everything) stays where it is and equals nothing.

Not covered: a test that compares two objects of the program's own classes fails, unless they are the same object; a
program whose calls share mutable values (returns a list and changes it later) shows copies; an argument changed in
place is seen by the test only if the call returns None.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from llmrl.errors import UserError, VerifierError
from llmrl.verifiers.sandbox.execution import ExecutionResult, Limits
from llmrl.verifiers.sandbox.host import Isolation, isolation, pack_files, sandbox_for
from llmrl.verifiers.sandbox.remote import run_remote
from llmrl.verifiers.sandbox.verdict import (
    Asserts,
    CheckFunction,
    InputOutput,
    TestOutcome,
    TestReport,
    Tests,
    check,
    check_output,
    tests_of,
)

__all__ = [
    "Asserts",
    "CheckFunction",
    "ExecutionResult",
    "InputOutput",
    "Isolation",
    "Limits",
    "TestOutcome",
    "TestReport",
    "Tests",
    "VerifierError",
    "extract_code",
    "isolation",
    "run_python",
    "run_tests",
    "tests_of",
]

_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n`]*\n(.*?)^[ \t]*\1[ \t\r]*$", re.MULTILINE | re.DOTALL)


def run_python(
    program: str,
    *,
    stdin: str = "",
    files: Mapping[str, str | bytes] | None = None,
    limits: Limits | None = None,
    sandbox: str = "auto",
) -> ExecutionResult:
    """Run a program as ``python main.py`` would, in an empty folder that holds ``files`` (by relative path).

    ``sandbox``: ``auto``, the strongest level here; ``required``, the same, refused if it is no isolation; a level's
    name; or the address (``http://…``) of a SandboxFusion server. Raises VerifierError where the program could not
    be run, UserError for a sandbox that is not to be had, ValueError for a file name that leads elsewhere.
    """
    limits, packed = limits or Limits(), pack_files(files)
    if _is_address(sandbox):
        return run_remote(sandbox, program, stdin, packed, limits)
    with sandbox_for(sandbox) as place:
        return place.start(program, limits, stdin=stdin, files=packed).result()[0]


def run_tests(program: str, tests: Tests, *, limits: Limits | None = None, sandbox: str = "auto") -> TestReport:
    """Judge a program by its tests; ``limits`` are those of the program for all asserts, or for each input.

    For asserts and check functions the program is run as a module, not as ``__main__``. Raises VerifierError where
    there is no verdict: no tests, tests that are no Python, a sandbox that failed. See ``run_python`` for ``sandbox``.
    """
    limits = limits or Limits()
    if isinstance(tests, InputOutput):
        if not tests.pairs:
            raise VerifierError("there are no tests")
        runs = [run_python(program, stdin=given, limits=limits, sandbox=sandbox) for given, _ in tests.pairs]
        return check_output(runs, tests)
    if _is_address(sandbox):
        raise UserError(f"{sandbox} can judge programs by input and output only: it runs program and tests together")
    with sandbox_for(sandbox) as place:
        return check(place, program, tests, limits)


def extract_code(completion: str) -> str | None:
    """The content of the completion's last fenced block; None where it has none that is closed."""
    blocks = _FENCE.findall(completion)
    return blocks[-1][1] if blocks else None


def _is_address(sandbox: str) -> bool:
    return sandbox.startswith(("http://", "https://"))
