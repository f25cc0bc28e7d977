"""Is the final answer right? What the completion states, in a box or in words, against the data's ``answer``."""

from llmrl.rewards import per_sample
from llmrl.verifiers.math import verify


@per_sample
def correct(prompt: str | list[dict[str, str]], completion: str, answer: str) -> float:
    """1 for a right final answer, 0 for a wrong one or none, or one that only repeats the question."""
    question = prompt if isinstance(prompt, str) else prompt[-1]["content"]
    return float(verify(completion, answer, prompt=question))
