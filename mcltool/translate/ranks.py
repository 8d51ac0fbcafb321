"""The end of a job whose shards are the ranks of torchrun.

Ranks need nothing of one another while they work. But torchrun ends all of them as soon as one exits with an
error, so they wait for the last before they say that some inputs failed, and the first joins the manifests.
"""

from __future__ import annotations

import os
from datetime import timedelta

from mcltool.translate.job import Job
from mcltool.translate.manifest import merge
from mcltool.translate.workspace import Shard, claimed

LONGEST_WAIT = timedelta(days=14)


def settle_ranks(job: Job, failed: int) -> int:
    """Wait for all ranks; returns how many inputs failed in all of them. Elsewhere, returns ``failed``."""
    if job.options.shard.is_whole or "TORCHELASTIC_RUN_ID" not in os.environ:
        return failed
    import torch
    from torch import distributed

    distributed.init_process_group("gloo", timeout=LONGEST_WAIT)
    try:
        total = torch.tensor(failed)
        distributed.all_reduce(total)
        if job.options.shard.index == 0:
            with claimed(job.out, Shard()) as scratch:
                merge(job.out, scratch)
        distributed.barrier()
        return int(total)
    finally:
        distributed.destroy_process_group()
