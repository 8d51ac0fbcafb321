"""What this process has of the processor, and what that means for the time that work takes: for doctor and demo."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from mcltool.core.threads import affinity, cores, quota

CROWDED = 1.5
"""Processes a core that want to run, above which work takes markedly longer."""


@dataclass(frozen=True)
class Remark:
    """detail: what was found. meaning: what follows from it, with the way out; "" where all is well."""

    name: str
    detail: str
    meaning: str = ""


def remarks() -> Iterator[Remark]:
    """Instruction sets, quota, threads and load."""
    yield _instructions()
    yield _quota()
    yield _threads()
    if hasattr(os, "getloadavg"):
        yield _load(os.getloadavg()[0])


def reasons() -> str:
    """Why work is slow here, in one line; "" where nothing is known to be in its way."""
    return "; ".join(remark.detail for remark in remarks() if remark.meaning)


def _instructions() -> Remark:
    import torch

    from mcltool.core.device import native_formats

    there = torch.backends.cpu.get_cpu_capability()
    if "bf16" in native_formats(torch.device("cpu")):
        amx = torch.cpu._is_amx_tile_supported()
        return Remark(
            "instructions", f"{there}, bf16, {'AMX' if amx else 'no AMX (which makes bf16 faster still)'}"
        )
    if there in ("DEFAULT", "NO AVX", "AVX2"):
        meaning = "products take about twice as long as with AVX-512; --precision auto takes fp32"
        return Remark("instructions", f"{there}: no AVX-512, no bf16", meaning)
    return Remark(
        "instructions", f"{there}, no bf16", "--precision auto takes fp32: about half the speed of bf16"
    )


def _quota() -> Remark:
    given, there = quota(), len(affinity())
    if given < there:
        meaning = f"more cannot be had within it: docker run --cpus {there}; --threads auto takes {cores()}"
        return Remark("quota", f"{given:.3g} of {there} processors' time", meaning)
    return Remark("quota", f"none, {there} processors")


def _threads() -> Remark:
    import torch

    threads = torch.get_num_threads()
    if threads > cores():
        meaning = f"they take turns and wait for one another: unset OMP_NUM_THREADS, or --threads {cores()}"
        return Remark("threads", f"{threads} threads on {cores()} cores", meaning)
    return Remark("threads", f"{threads} threads on {cores()} cores")


def _load(load: float) -> Remark:
    if load > CROWDED * cores():
        meaning = (
            f"other work shares the cores: expect {load / cores():.0f} times the usual time, or wait for it"
        )
        return Remark("load", f"{load:.1f} processes want {cores()} cores", meaning)
    return Remark("load", f"{load:.1f}")
