"""What the ranks of one run tell each other; every function is the identity in a single process.

Everything goes through ``torch.distributed`` as Accelerate has set it up, so that nothing here depends on how
the processes were launched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


def active() -> bool:
    """Whether a process group of more than one process exists."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if active() else 0


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if active() else 1


def is_main() -> bool:
    """Whether this process is the one that prints and writes."""
    return rank() == 0


def all_sum(values: Sequence[float]) -> list[float]:
    """The element-wise sum over ranks, in float64."""
    return _reduce(values, dist.ReduceOp.SUM)


def all_max(values: Sequence[float]) -> list[float]:
    """The element-wise maximum over ranks, in float64."""
    return _reduce(values, dist.ReduceOp.MAX)


def gather(items: Sequence[T]) -> list[T]:
    """The items of all ranks, concatenated in rank order, on every rank."""
    if not active():
        return list(items)
    parts: list[Any] = [None] * world_size()
    dist.all_gather_object(parts, list(items))
    return [item for part in parts for item in part]


def broadcast(value: T) -> T:
    """Rank 0's value, on every rank."""
    if not active():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def barrier() -> None:
    """Wait until every rank is here."""
    if active():
        dist.barrier()


def share(items: Sequence[T]) -> list[T]:
    """This rank's part of a list that every rank holds: every ``world_size``-th item from ``rank`` on."""
    return list(items[rank() :: world_size()])


def _reduce(values: Sequence[float], operation: Any) -> list[float]:
    if not active():
        return [float(v) for v in values]
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else "cpu"
    total: Tensor = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(total, op=operation)
    return total.tolist()
