"""Where a model's time goes: which part is at work, for how long, and what it computes and moves.

A part is a module of the model; ``watching`` marks its beginning and end with hooks. What is in no module is "rest":
of translating that is the warp, of a training step the backward pass, the losses' own work and the optimiser.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from mcltool.tools.bench.machine import FORMATS, Machine, measure_machine, typical

OTHER = "rest"
"""All that is in no part."""

COPIED = tuple(2**n for n in (20, 22, 24, 26, 28))
"""Bytes of the tensors that are copied: the smaller ones stay in a processor's caches."""


@dataclass(frozen=True)
class Roof:
    """machine: its matrix rates. copy: bytes a second, read and written, by number format and by what is copied."""

    machine: Machine
    copy: dict[str, dict[int, float]]

    def bandwidth(self, size: int, form: str) -> float:
        """Bytes a second of a copy that moves ``size`` bytes (read and written)."""
        rates = self.copy[form]
        return rates[next((copied for copied in rates if 2 * copied >= size), max(rates))]

    def floor(self, operations: int, size: int, form: str) -> float:
        """Seconds that an operation cannot do without: to compute, or to move its ``size`` bytes."""
        seconds = operations / self.machine.rate(form)
        return max(seconds, size / self.bandwidth(size, form)) if size else seconds


def measure_roof(device: torch.device) -> Roof:
    """Some 10 s on a CPU."""

    def rate(size: int, dtype: torch.dtype) -> float:
        source = torch.ones(size // dtype.itemsize, device=device, dtype=dtype)
        target = torch.empty_like(source)
        return 2 * size / typical(lambda: target.copy_(source), device, 0.2)

    machine = measure_machine(device)
    return Roof(
        machine, {form: {size: rate(size, FORMATS[form]) for size in COPIED} for form in machine.matrix}
    )


class Parts:
    """The part at work now, and the time of each. Of two parts, one inside the other, the inner one is at work."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stack = [OTHER]
        self.marks = [(OTHER, self._now())]

    @property
    def current(self) -> str:
        return self.stack[-1]

    def begin(self, name: str) -> None:
        self.stack.append(name)
        self.marks.append((self.current, self._now()))

    def end(self) -> None:
        self.stack.pop()
        self.marks.append((self.current, self._now()))

    def seconds(self) -> dict[str, float]:
        """Seconds of each part since the last call."""
        self.marks.append((self.current, self._now()))
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        found: dict[str, float] = defaultdict(float)
        for (name, start), (_, end) in zip(self.marks, self.marks[1:], strict=False):
            found[name] += start.elapsed_time(end) / 1000 if self.device.type == "cuda" else end - start
        self.marks = self.marks[-1:]
        return dict(found)

    def _now(self) -> Any:
        """On a GPU an event in its queue of work: the processor is ahead of it."""
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event


@contextmanager
def watching(parts: Parts, modules: Sequence[tuple[str, nn.Module]]) -> Iterator[None]:
    """Tell ``parts`` when the forward pass of a module begins and ends."""
    with ExitStack() as undo:
        for name, module in modules:
            undo.callback(module.register_forward_pre_hook(lambda *_, name=name: parts.begin(name)).remove)
            undo.callback(module.register_forward_hook(lambda *_: parts.end()).remove)
        yield


@dataclass
class Count:
    """operations: of products and convolutions, a multiplication and an addition being two. bytes: that all
    operations read and write, each on its own. floor: seconds that they take at the least, see ``Roof.floor``."""

    operations: int = 0
    bytes: int = 0
    floor: float = 0.0


class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While this context lasts, adds up what each part computes, by torch's own formulas."""

    def __init__(self, parts: Parts, roof: Roof) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.parts, self.roof = parts, roof
        self.found: dict[str, Count] = defaultdict(Count)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        formula = _FORMULAS.get(func._overloadpacket)
        if formula is None and func is not torch.ops.prim.device.default:
            with self:  # inference mode hands over whole layers
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        operations = int(formula(*args, **kwargs, out_val=result)) if formula else 0
        size = _moved(func, args, kwargs, result)
        count = self.found[self.parts.current]
        count.operations += operations
        count.bytes += size
        count.floor += self.roof.floor(operations, size, _form(args))
        return result


def _cpu_attention(q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(q.shape, k.shape, v.shape))  # type: ignore[no-untyped-call]


def _cpu_attention_backward(gradient: Tensor, q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> int:
    shapes = (gradient.shape, q.shape, k.shape, v.shape)
    return int(sdpa_backward_flop_count(*shapes))  # type: ignore[no-untyped-call]


_ATEN = torch.ops.aten
_FORMULAS: dict[Any, Callable[..., int]] = {  # torch's registry lacks the attention of the CPU
    _ATEN._scaled_dot_product_flash_attention_for_cpu: _cpu_attention,
    _ATEN._scaled_dot_product_flash_attention_for_cpu_backward: _cpu_attention_backward,
    **flop_registry,
}
_WRITE_ONLY = ("copy_", "zero_", "fill_")


def _moved(func: Any, args: Any, kwargs: Any, result: Any) -> int:
    """Bytes that one operation reads and writes."""
    name = func._overloadpacket.__name__
    given, results = _tensors((args, kwargs)), _tensors(result)
    arguments = func._schema.arguments
    by_name = dict(zip((a.name for a in arguments), args, strict=False)) | kwargs
    changed = _tensors([by_name.get(a.name) for a in arguments if a.alias_info and a.alias_info.is_write])
    known = {id(t) for t in changed}
    made = [t for t in results if id(t) not in known]
    memory = {_memory(t) for t in given}
    if name.startswith(("empty", "new_empty")) or (not changed and all(_memory(t) in memory for t in made)):
        return 0  # nothing but memory, or a view
    if name.endswith("_like"):
        given = []
    elif name in _WRITE_ONLY:
        given = [t for t in given if id(t) not in known]
    return sum(map(_size, {id(t): t for t in given}.values())) + sum(map(_size, changed + made))


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _memory(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _size(tensor: Tensor) -> int:
    """Bytes of a tensor, of one that is repeated without a copy only once."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


def _form(args: Any) -> str:
    forms = {torch.bfloat16: "bf16", torch.float16: "fp16"}
    kinds = (t.dtype for t in _tensors(args) if t.is_floating_point())
    return forms.get(next(kinds, torch.float32), "fp32")
