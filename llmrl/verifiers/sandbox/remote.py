"""Programs run by a server that speaks SandboxFusion's protocol (``POST /run_code``)."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from llmrl.errors import VerifierError
from llmrl.verifiers.sandbox.execution import ExecutionResult, Limits, Status

PATIENCE_S = 30.0
"""How long beyond the program's own limit the server may take; it may have a queue."""
_STATUSES: Mapping[str, Status] = {"Finished": "ok", "Error": "error", "TimeLimitExceeded": "timeout"}


def run_remote(address: str, program: str, stdin: str, files: Mapping[str, str], limits: Limits) -> ExecutionResult:
    """Have the server at ``address`` run a program; ``files`` are base64. Raises VerifierError.

    The server's own isolation is all there is, and of the limits only wall time and memory are passed on.
    """
    request = {
        "code": program,
        "language": "python",
        "stdin": stdin,
        "files": dict(files),
        "run_timeout": limits.wall_s,
        "memory_limit_MB": limits.memory_mb,
    }
    answer = _post(f"{address.rstrip('/')}/run_code", request, limits.wall_s + PATIENCE_S)
    result = answer.get("run_result")
    if answer.get("status") == "SandboxError" or not isinstance(result, dict) or result.get("status") not in _STATUSES:
        raise VerifierError(f"{address}: {answer.get('status')}: {answer.get('message') or 'no result'}")
    status, code = _STATUSES[result["status"]], result.get("return_code")
    if status == "ok" and code:
        status = "error" if code > 0 else "crash"
    stdout, stderr = (result.get(name) or "" for name in ("stdout", "stderr"))
    longest = limits.output_kb << 10
    if max(len(stdout), len(stderr)) > longest:
        status, stdout, stderr = "output", stdout[:longest], stderr[:longest]
    seconds = float(result.get("execution_time") or 0.0)
    return ExecutionResult(status, stdout, stderr, -1 if code is None else code, seconds, float("nan"), float("nan"))


def _post(address: str, content: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(address, json.dumps(content).encode(), headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            answer = json.load(response)
    except (OSError, ValueError) as error:  # URLError and time limits are OSErrors
        raise VerifierError(f"{address}: {error}") from None
    if not isinstance(answer, dict):
        raise VerifierError(f"{address}: not an answer: {str(answer)[:200]}")
    return answer
