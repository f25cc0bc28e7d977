"""Is the answer where it was asked for, whatever it says?"""

from llmrl.rewards import per_sample

BOX = "\\boxed{"


@per_sample
def boxed(completion: str) -> float:
    """1 where the completion ends with its one and only, non-empty ``\\boxed{…}``, else 0."""
    _, _, content = completion.rstrip().partition(BOX)
    closing = closing_brace(content)
    only = BOX not in content and closing == len(content) - 1
    return float(only and content[:closing].strip() != "")


def closing_brace(text: str) -> int:
    """Where the brace that was opened before ``text`` closes; -1 where it does not."""
    depth = 1
    for position, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return position
    return -1


@per_sample
def think(completion: str) -> float:
    """1 for ``<think>…</think>`` and then an answer, each tag once and nothing before them, else 0."""
    before, _, rest = completion.partition("<think>")
    thought, _, answer = rest.partition("</think>")
    once = completion.count("<think>") == completion.count("</think>") == 1
    return float(once and not before.strip() and thought.strip() != "" and answer.strip() != "")
