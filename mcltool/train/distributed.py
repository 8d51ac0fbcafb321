"""Training in several processes (torchrun), and how a run ends early: signals and its time limit."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from mcltool.core.errors import McltoolError, UsageError

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Ranks:
    """This process's place among those that train together; alone by default.

    rank: 0 writes and shows everything. local: number of the process on its machine, which is that of its GPU.
    """

    rank: int = 0
    world: int = 1
    local: int = 0

    @property
    def main(self) -> bool:
        return self.rank == 0

    def wrap(self, module: Network) -> Network:
        """``module`` with its gradients averaged over the processes in the backward pass."""
        if self.world == 1:
            return module
        # Networks join in the course of a run: parameters of those that wait for it have no gradient. Buffers
        # (estimates of spectral norms) are sent from the first process, so that all judge alike.
        return cast(Network, DistributedDataParallel(module, find_unused_parameters=True))

    def mean(self, values: Tensor) -> Tensor:
        """The mean of ``values`` over the processes."""
        if self.world > 1:
            values = values / self.world  # gloo has no mean
            dist.all_reduce(values)
        return values

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether ``flag`` holds in any of the processes."""
        if self.world == 1:
            return flag
        flags = torch.tensor(int(flag), device=device)
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return bool(flags)

    @contextmanager
    def in_touch(self) -> Iterator[None]:
        """Turn a failed exchange with another process into an error of one line."""
        try:
            yield
        except RuntimeError as error:
            if self.world == 1 or isinstance(error, torch.OutOfMemoryError):
                raise
            raise McltoolError(
                f"the processes lost touch ({error}); torchrun --max-restarts N goes on by itself, else use --resume"
            ) from error


ALONE = Ranks()


def launched() -> bool:
    """Whether torchrun (or what sets the same variables) started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def launched_rank() -> int:
    """This process's rank among those that torchrun started; 0 alone."""
    return int(os.environ["RANK"]) if launched() else 0


def restarted() -> bool:
    """Whether torchrun started this process again after another one was lost."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


@contextmanager
def connected(device: torch.device) -> Iterator[Ranks]:
    """The group of processes that torchrun started, connected while the context lasts; else ``ALONE``.

    device: where this process computes. nccl connects GPUs, gloo all else. Raises UsageError where torchrun's
    variables make no sense or the others cannot be reached.
    """
    if not launched():
        yield ALONE
        return
    try:
        store, rank, world = next(rendezvous("env://"))
        store = PrefixStore(_attempt(), store)
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=world)
    except (RuntimeError, ValueError) as error:
        raise UsageError(
            f"the processes of this run cannot be connected; start them with torchrun ({error})"
        ) from None
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", "0")))
    finally:
        dist.destroy_process_group()


def _attempt() -> str:
    """A name for this start, the same in all processes: torchrun keeps one store over its restarts, in which the
    addresses of the lost processes still stand (seen with torch 2.15)."""
    # Over several machines each counts its own restarts; docs/training.md says what to set there.
    one_machine = os.environ.get("GROUP_WORLD_SIZE", "1") == "1"
    return f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}" if one_machine else "attempt"


def own_device(name: str | None) -> str | None:
    """The device for this process: ``name``, or where torchrun started several on a machine, a GPU of its own."""
    if launched() and name in (None, "cuda") and torch.cuda.is_available():
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return name


SIGNALS = (signal.SIGINT, signal.SIGTERM)


class InterruptedRun(McltoolError):  # noqa: N818 (no error of the run)
    """A signal ended the run, after it had saved its state. exit_code: 128 + the signal's number."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class Stop:
    """What asks a run to stop. signal: the number of the signal that came, or None; signals: how many came."""

    def __init__(self, max_minutes: float | None) -> None:
        self.signal: int | None = None
        self.signals = 0
        self._end = None if max_minutes is None else time.monotonic() + 60 * max_minutes

    def requested(self) -> bool:
        return self.signal is not None or (self._end is not None and time.monotonic() >= self._end)


@contextmanager
def stoppable(max_minutes: float | None, tell: bool = True) -> Iterator[Stop]:
    """Note the first SIGINT or SIGTERM instead of ending; a second one acts as usual.

    max_minutes: after these, ``requested`` too. tell: say at once that the signal was heard. Only a program's main
    thread can take signals; elsewhere they stay as they are.
    """
    stop = Stop(max_minutes)
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def note(number: int, _: FrameType | None) -> None:
        stop.signal = number
        restore()
        if stop.signals > 1:  # while torch computed, which Python's handlers wait for
            raise KeyboardInterrupt

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    before: dict[signal.Signals, Any] = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        with _heard(stop, tell):
            yield stop
    finally:
        restore()


@contextmanager
def _heard(stop: Stop, tell: bool) -> Iterator[None]:
    """Count signals as they come, in a thread of its own."""
    heard, speaker = os.pipe()
    os.set_blocking(speaker, False)

    def listen() -> None:
        while number := os.read(heard, 1)[0]:
            if number in SIGNALS:
                stop.signals += 1
                if tell and stop.signals == 1:
                    print("saving; Ctrl-C again quits at once", file=sys.stderr, flush=True)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    previous = signal.set_wakeup_fd(speaker, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous)
        os.write(speaker, b"\0")
        thread.join(timeout=1)
        os.close(heard)
        os.close(speaker)
