"""One training run on several processes: plain ``torch.distributed`` under torchrun. With one process nothing here does anything.

Every rank holds the networks and takes its part of each batch; gradients are averaged flat, once a phase, so that the ranks
stay equal. No wrapper around the modules: the penalties differentiate twice, which hooks in a wrapper get wrong.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from augmint.core.errors import UserError


def rank() -> int:
    """Which of the processes this is, 0 for the only one."""
    return dist.get_rank() if dist.is_initialized() else 0


def num_ranks() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    """Whether this process writes files and speaks."""
    return rank() == 0


@contextmanager
def joined() -> Iterator[None]:
    """Join the other processes where torchrun has started several (it says so in the environment), and part at the end."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    with _talking():
        store, own, num = next(iter(rendezvous("env://")))
        # torchrun keeps one store over its restarts, and with it the addresses of processes that are gone: the next
        # generation would wait for those. Keys of its own for each.
        generation = f"augmint/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{num}"
        backend = "gloo"
        if torch.cuda.is_available():  # a GPU for each process of a machine
            backend = "cpu:gloo,cuda:nccl"
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        dist.init_process_group(backend, store=PrefixStore(generation, store), rank=own, world_size=num)
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextmanager
def _talking() -> Iterator[None]:
    """Turn what the network layer says of a lost process into a `UserError`."""
    try:
        yield
    except RuntimeError as error:
        raise UserError(
            f"another process of this run was lost: {str(error).splitlines()[0]}",
            where=f"process {os.environ.get('RANK', '0')}",
            mend="the same command goes on from the last checkpoint; torchrun --max-restarts=3 gives it by itself",
        ) from error


def wait() -> None:
    """Until all are here."""
    if num_ranks() > 1:
        with _talking():
            dist.barrier()


def part(batch: int) -> slice:
    """This rank's part of a batch.

    Raises:
        UserError: if the batch cannot be divided evenly.
    """
    num = num_ranks()
    if batch % num:
        raise UserError(
            f"a batch of {batch} cannot be divided among {num} processes", mend=f"give --batch a multiple of {num}"
        )
    size = batch // num
    return slice(rank() * size, (rank() + 1) * size)


def average_grads(module: nn.Module) -> None:
    """Replace the gradients by their mean over the ranks: one flat all-reduce."""
    if num_ranks() == 1:
        return
    grads = [p.grad for p in module.parameters() if p.grad is not None]
    flat = torch.cat([g.flatten() for g in grads])
    with _talking():
        dist.all_reduce(flat)
    flat /= num_ranks()
    for g, mean in zip(grads, torch.split(flat, [g.numel() for g in grads]), strict=True):
        g.copy_(mean.view_as(g))


def averaged(figures: Mapping[str, float]) -> dict[str, float]:
    """Mean of each figure over the ranks; all ranks must have the same names."""
    if num_ranks() == 1:
        return dict(figures)
    values = torch.tensor(list(figures.values()), dtype=torch.float64)
    with _talking():
        dist.all_reduce(values)
    return dict(zip(figures, (values / num_ranks()).tolist(), strict=True))


def any_true(value: bool) -> bool:
    """Whether it is true on one of the ranks."""
    if num_ranks() == 1:
        return value
    flag = torch.tensor([value], dtype=torch.uint8)
    with _talking():
        dist.all_reduce(flag, dist.ReduceOp.MAX)
    return bool(flag)


def told(value: Any) -> Any:
    """The first rank's value, which must be plain JSON; what the other ranks give is not looked at."""
    if num_ranks() == 1:
        return value
    coded = bytearray(json.dumps(value).encode()) if is_first() else bytearray()
    size = torch.tensor([len(coded)])
    with _talking():
        dist.broadcast(size, 0)
        text = torch.frombuffer(coded, dtype=torch.uint8) if is_first() else torch.empty(int(size), dtype=torch.uint8)
        dist.broadcast(text, 0)
    return json.loads(text.numpy().tobytes())


def by_first(task: Callable[[], Any]) -> None:
    """Let the first rank do it while the others wait; where it raises a `UserError`, all do."""
    fault: dict[str, str] | None = None
    if is_first():
        try:
            task()
        except UserError as error:
            if num_ranks() == 1:
                raise
            told({"problem": error.problem, "where": str(error.where or ""), "mend": error.mend})
            raise
    fault = told(fault)
    if fault is not None:
        raise UserError(fault["problem"], where=fault["where"] or None, mend=fault["mend"])


@torch.no_grad()
def equalise(module: nn.Module) -> None:
    """Give every rank the first one's weights."""
    if num_ranks() == 1:
        return
    state: list[Tensor] = [*module.parameters(), *module.buffers()]
    with _talking():
        for value in state:
            dist.broadcast(value, 0)
