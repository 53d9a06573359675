"""A job's share of the machine, where a launcher runs several jobs on it at a time."""

import os
import tempfile
from itertools import count
from pathlib import Path

import cv2
import torch
from filelock import FileLock, Timeout

# Held for as long as this process lives.
_claimed: list[FileLock] = []


def usable_cores() -> int:
    """Cores that this process may run on; fewer than the machine has in a container or under Slurm.

    >>> 1 <= usable_cores() <= os.cpu_count()
    True
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def take_share(jobs: int) -> int:
    """Keep this process to its part of the cores, and to one GPU where there are any.

    Args:
        jobs: processes that share the machine; below 1, one a core.

    Returns:
        Cores of the share: torch's and OpenCV's threads from here on.
    """
    cores = usable_cores()
    share = max(1, cores // (jobs if jobs > 0 else cores))
    torch.set_num_threads(share)
    cv2.setNumThreads(share)
    gpus = _visible_gpus()
    if gpus and not _claimed:
        os.environ["CUDA_VISIBLE_DEVICES"] = claim(gpus, tempfile.gettempdir())
    return share


def _visible_gpus() -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    # Counted without a CUDA context, after which the choice would come too late.
    return visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]


def claim(names: list[str], folder: str | Path) -> str:
    """The first of the names that the fewest other processes hold; this one then holds it too.

    Args:
        names: of what is shared out, such as GPUs.
        folder: of the lock files, one that all processes see.
    """
    for turn in count():
        for name in names:
            lock = FileLock(Path(folder) / f"homoreg-gpu-{name.replace('/', '_')}-{turn}.lock")
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue
            _claimed.append(lock)
            return name
    raise AssertionError
