"""Is the final answer right? What stands in ``\\boxed{}`` or after ``####`` against the data's ``answer``."""

from llmrl.rewards import per_sample
from llmrl.verifiers.math import verify


@per_sample
def correct(completion: str, answer: str) -> float:
    """1 for a right final answer, 0 for a wrong one or none."""
    return float(verify(completion, answer))
