"""Log-probabilities of tokens and entropy of their distributions, from logits or from hidden states; in nats.

Logits must be finite. They are read in their own dtype and computed with in float32, or float64 if they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

_CACHED_ELEMENTS = 2**21
"""Logits that a CPU's cache holds together with two float32 copies of them."""


def token_logprobs(logits: Tensor, tokens: Tensor) -> Tensor:
    """log p(token) = logit of the token − log Σ exp(logits); [..., V] and [...] to [...]. The plain form."""
    logp = logits.log_softmax(-1, dtype=_precise(logits))
    return logp.gather(-1, tokens[..., None]).squeeze(-1)


def entropy(logits: Tensor) -> Tensor:
    """H = −Σ p log p; [..., V] to [...]. The plain form."""
    logp = logits.log_softmax(-1, dtype=_precise(logits))
    return -(logp.exp() * logp).sum(-1)


def logprobs_and_entropy(logits: Tensor, tokens: Tensor, *, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """log p(token) and H of p = softmax(logits / temperature); [N, V] and [N] to [N] and [N].

    Equal to the plain forms in value and gradient, in one pass: nothing of size [N, V] is kept but the logits
    themselves, and the backward pass makes nothing of that size but their gradient,
    ∂ log p(a)/∂z = (1[a] − p) / temperature and ∂H/∂z = −p · (log p + H) / temperature. Differentiable once.
    """
    return _LogprobsAndEntropy.apply(logits, tokens, 1 / temperature)  # type: ignore[return-value]


def chunked_logprobs_and_entropy(
    hidden: Tensor,
    tokens: Tensor,
    project: Callable[[Tensor], Tensor],
    *,
    temperature: float = 1.0,
    chunk_elements: int = 2**23,
    vocab_size: int,
) -> tuple[Tensor, Tensor]:
    """``logprobs_and_entropy`` of ``project(hidden)``, never more than ``chunk_elements`` logits at a time.

    hidden [N, D] and tokens [N] to [N] and [N]; ``project`` is the model's head, [n, D] to [n, V], with its
    scaling and soft-capping. If all logits fit in one chunk they are kept for the backward pass, otherwise
    each chunk's are computed again in it.
    """

    def score(hidden: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return logprobs_and_entropy(project(hidden), tokens, temperature=temperature)

    rows = max(1, chunk_elements // vocab_size)
    if len(tokens) <= rows:
        return score(hidden, tokens)
    if torch.is_grad_enabled():
        score = partial(checkpoint, score, use_reentrant=False, preserve_rng_state=False)
    scores = [score(h, t) for h, t in zip(hidden.split(rows), tokens.split(rows), strict=True)]
    logprobs, entropies = zip(*scores, strict=True)
    return torch.cat(logprobs), torch.cat(entropies)


class _LogprobsAndEntropy(torch.autograd.Function):
    """With z the logits times ``scale``: log p = z − L, L = log Σ eᶻ, and H = L − Σ p·z."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, tokens: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        normaliser = logits.new_empty(len(logits), 1, dtype=_precise(logits))
        logprobs, entropies = torch.empty_like(normaliser), torch.empty_like(normaliser)
        for rows in _cached_rows(logits):
            top = logits[rows].amax(1, keepdim=True).to(normaliser.dtype) * scale
            below_top = torch.add(-top, logits[rows], alpha=scale)
            unnormalised = below_top.exp()
            total = unnormalised.sum(1, keepdim=True)
            log_total = total.log()
            normaliser[rows] = top + log_total
            logprobs[rows] = below_top.gather(1, tokens[rows, None]) - log_total
            entropies[rows] = log_total - unnormalised.mul_(below_top).sum(1, keepdim=True) / total
        ctx.save_for_backward(logits, tokens, normaliser, entropies)
        ctx.scale = scale
        ctx.set_materialize_grads(False)
        return logprobs.squeeze(1), entropies.squeeze(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        logits, tokens, normaliser, entropies = ctx.saved_tensors
        from_logprobs, from_entropy = (None if g is None else g[:, None] * ctx.scale for g in grads)
        if from_logprobs is None:
            from_logprobs = torch.zeros_like(normaliser)
        grad = torch.empty_like(logits)
        for rows in _cached_rows(logits):
            logp = torch.add(-normaliser[rows], logits[rows], alpha=ctx.scale)
            slope = -from_logprobs[rows]
            if from_entropy is not None:
                offset = slope - from_entropy[rows] * entropies[rows]
                slope = torch.addcmul(offset, logp, from_entropy[rows], value=-1)
            of_block = logp.exp_().mul_(slope)
            grad[rows] = of_block.scatter_add_(1, tokens[rows, None], from_logprobs[rows])
        return grad, None, None


def _precise(logits: Tensor) -> torch.dtype:
    return torch.promote_types(logits.dtype, torch.float32)


def _cached_rows(logits: Tensor) -> Iterator[slice]:
    """All rows in order: on a CPU in blocks that stay in its cache, elsewhere at once."""
    count, size = logits.shape
    rows = max(1, _CACHED_ELEMENTS // size if logits.is_cpu else count)
    return (slice(start, start + rows) for start in range(0, count, rows))
