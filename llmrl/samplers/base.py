"""What every sampler promises, and the noise that makes sampling reproducible."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from llmrl.types import Group, Prompt, SamplingSpec

Encode = Callable[[Prompt], list[int]]


class Sampler(Protocol):
    """Draws completions from the current policy."""

    def sample(self, prompts: Sequence[Prompt], n: int, spec: SamplingSpec, seed: str) -> list[Group]:
        """``n`` completions of each prompt; the same ``seed`` gives the same completions."""
        ...

    def stream(self, prompts: Sequence[Prompt], n: int, spec: SamplingSpec, seed: str) -> Iterator[list[Group]]:
        """What ``sample`` gives, in pieces as they are finished."""
        ...

    def sync(self) -> None:
        """Make the sampler draw from the policy as it now is."""
        ...


def uniforms(seed: str, prompt_id: str, sample: int, count: int) -> np.ndarray:
    """``[count]`` numbers in [0, 1), one a position, that depend on nothing but the arguments.

    A counter-based generator keyed by a hash: a completion is the same whatever else is in its batch, on
    whichever rank it is drawn, and after a resume.
    """
    digest = hashlib.blake2b(f"{seed}\0{prompt_id}\0{sample}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little"))).random(count)
