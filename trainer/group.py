"""Several processes that train one network together, each on a device of its own and on its share of every batch.

All hold the same weights and draw the same changes of the same photos as one process would; then each learns from its
share, and before a step the gradients, weighted by photos, are summed over all. So the sum of a step is that of the
whole batch, whatever the number of processes.

torch's DistributedDataParallel averages the gradients of equal shares while they are computed, and needs every process
to compute in the same order. Here shares differ by a photo, a batch may be smaller than the group, and a process whose
memory ran out computes again in more parts, which all must agree on first: one sum after the last part is exact, and
the simpler.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

BUCKET_BYTES = 32 * 1024**2  # of gradients that are summed at once; so much memory it takes beside them
WAIT = timedelta(minutes=10)  # for a process that lives and does not answer
LEAST = 2  # photos a share: batch norm finds no variance in one


class GroupLost(RuntimeError):
    """Another process of the group has gone, or has not answered for ten minutes."""


@dataclass(frozen=True)
class Share:
    """What one process learns of a batch."""

    part: slice  # of its photos
    weight: float  # of the mean over these in that over the whole batch; 0 where another has them too
    least: int  # photos of the smallest share; 0 in WHOLE, where nobody shares


WHOLE = Share(slice(None), 1.0, 0)


class Group:
    """The processes that train together, as one of them sees them. One alone is a group as well."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size

    @property
    def leads(self) -> bool:
        """Whether this is the one that tells, saves and publishes."""
        return self.rank == 0

    def share(self, photos: int) -> Share:
        """Of a batch of so many. Where they are too few for all, some repeat the last share, without weight."""
        sharing = max(min(self.size, photos // LEAST), 1)
        part = nth(photos, self.rank if self.rank < sharing else sharing - 1, sharing)
        weight = (part.stop - part.start) / photos if self.rank < sharing else 0.0
        return Share(part, weight, photos // sharing)

    def right(self, logits: Tensor, labels: Tensor, share: Share) -> Tensor:
        """How many photos of a batch, whose labels these are, are answered rightly (), from the logits of our share."""
        right = (logits.argmax(1) == labels[share.part]).sum() * bool(share.weight)
        self.total(right)
        return right

    def part(self, count: int) -> slice:
        """Of so many rows that are divided among all; it may be empty."""
        return nth(count, self.rank, self.size)

    def total(self, *tensors: Tensor) -> None:
        """Replace each by its sum over all processes, in which all end with the same bits. Raises GroupLost."""
        if self.size > 1:
            for bucket in buckets(tensors):
                sum_up(bucket)

    def all(self, fine: bool) -> bool:
        """Whether it is fine with every process. Raises GroupLost."""
        if self.size == 1:
            return fine
        unwell = torch.tensor([0 if fine else 1])
        self.total(unwell)
        return not unwell.item()

    def agree(self, *numbers: float) -> bool:
        """Whether all processes have the same numbers, but for what devices of several kinds differ in their sums."""
        seen = torch.zeros(self.size, len(numbers), dtype=torch.float64)
        seen[self.rank] = torch.tensor(numbers, dtype=torch.float64)
        self.total(seen)
        return torch.allclose(seen, seen[:1].expand_as(seen), rtol=1e-9, atol=0, equal_nan=True)

    def whole(self, own: Tensor, count: int) -> Tensor:
        """The `count` rows of all, of which `part(count)` are our `own`."""
        if self.size == 1:
            return own
        rows = torch.zeros(count, *own.shape[1:], dtype=own.dtype)
        rows[self.part(count)] = own
        self.total(rows)
        return rows

    def sum_gradients(self, net: nn.Module, loss: Tensor, weight: float) -> None:
        """Those of each share, weighted already, become those of the batch, and the loss with them. Batch-norm
        statistics that were measured on a share become the mean over all photos."""
        if self.size == 1:
            return
        statistics = list(measured(net))
        for one in statistics:
            one.mul_(weight)
        gradients = [parameter.grad for parameter in net.parameters() if parameter.grad is not None]
        self.total(*gradients, *statistics, loss)


ALONE = Group()


def join(rank: int, size: int, *, rendezvous: Path | None) -> Group:
    """Meet the others: by a file of all, or, where `torchrun` started us, as its environment says. Tensors of the
    processor go by gloo, those of CUDA devices by NCCL."""
    if sys.platform == "linux" and rendezvous is not None:  # all of one machine: nothing is open to the network
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    options: dict[str, Any] = {"rank": rank, "world_size": size, "timeout": WAIT}
    if rendezvous is not None:
        options["store"] = distributed.FileStore(str(rendezvous), size)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and distributed.is_nccl_available() else "gloo"
    try:
        distributed.init_process_group(backend, **options)
    except RuntimeError as error:
        raise GroupLost(str(error)) from error
    return Group(rank, size)


def part(group: Group) -> None:
    """The end of a group whose work is done."""
    if group.size > 1:
        distributed.destroy_process_group()


def synchronized(net: nn.Module) -> nn.Module:
    """The network with batch norms that measure the whole batch, on CUDA devices alone: elsewhere torch has none."""
    if all(type(part).__module__ == "torch.nn.modules.batchnorm" for part in norms(net)):
        return nn.SyncBatchNorm.convert_sync_batchnorm(net)
    from timm.layers import convert_sync_batchnorm  # knows timm's own, in which an activation follows

    made: nn.Module = convert_sync_batchnorm(net)
    return made


def nth(count: int, number: int, parts: int) -> slice:
    """The part 0, 1, ... of so many rows, as even as can be."""
    even, more = divmod(count, parts)
    start = number * even + min(number, more)
    return slice(start, start + even + (number < more))


def norms(net: nn.Module) -> Iterator[_BatchNorm]:
    return (part for part in net.modules() if isinstance(part, _BatchNorm))


def measured(net: nn.Module) -> Iterator[Tensor]:
    """The running statistics that a step has moved by what one process saw."""
    for part in norms(net):
        if part.training and not isinstance(part, nn.SyncBatchNorm):
            yield from (one for one in (part.running_mean, part.running_var) if one is not None)


def buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """In their order, so many of one kind at a time."""
    bucket: list[Tensor] = []
    size = 0
    for tensor in tensors:
        other = bucket and (tensor.dtype, tensor.device) != (bucket[0].dtype, bucket[0].device)
        if bucket and (other or size + tensor.nbytes > BUCKET_BYTES):
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += tensor.nbytes
    if bucket:
        yield bucket


def sum_up(bucket: Sequence[Tensor]) -> None:
    """One sum for all tensors of a bucket, in place. Raises GroupLost."""
    alone = len(bucket) == 1 and bucket[0].is_contiguous()
    flat = bucket[0] if alone else torch.cat([tensor.reshape(-1) for tensor in bucket])
    try:
        distributed.all_reduce(flat)
    except (torch.OutOfMemoryError, torch.AcceleratorError):
        raise
    except RuntimeError as error:  # what gloo says of a closed connection
        raise GroupLost(str(error)) from error
    if not alone:
        for tensor, summed in zip(bucket, flat.split([tensor.numel() for tensor in bucket]), strict=True):
            tensor.copy_(summed.view_as(tensor))
