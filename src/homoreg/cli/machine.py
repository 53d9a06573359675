"""Threads and GPUs for each of several jobs that run on one machine."""

import os
import tempfile
from itertools import count
from pathlib import Path

import cv2
import torch
from filelock import FileLock, Timeout

# Held for as long as this process lives.
_acquired: list[FileLock] = []


def usable_cores() -> int:
    """Cores that this process may run on; fewer than the machine has in a container or under Slurm.

    >>> 1 <= usable_cores() <= os.cpu_count()
    True
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def limit_threads(jobs: int) -> int:
    """Limit the threads of torch and OpenCV to this process's share, and use a single GPU if any.

    Where ``OMP_NUM_THREADS`` is set to a smaller number, there are as many threads as it says.

    Args:
        jobs: processes that share the machine; below 1, one per core.

    Returns:
        The number of cores that are this process's share.
    """
    cores = usable_cores()
    share = max(1, cores // (jobs if jobs > 0 else cores))
    asked = os.environ.get("OMP_NUM_THREADS", "")
    threads = min(share, max(1, int(asked))) if asked.isdecimal() else share
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    gpus = _visible_gpus()
    if gpus and not _acquired:
        os.environ["CUDA_VISIBLE_DEVICES"] = acquire_gpu(gpus, tempfile.gettempdir())
    return share


def _visible_gpus() -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    # device_count() creates no CUDA context, after which the choice would come too late.
    return visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]


def acquire_gpu(names: list[str], folder: str | Path) -> str:
    """The first GPU that the fewest other processes hold; this process holds it until it ends.

    Args:
        names: of the GPUs.
        folder: of the lock files, one that all processes see.
    """
    for turn in count():
        for name in names:
            lock = FileLock(Path(folder) / f"homoreg-gpu-{name.replace('/', '_')}-{turn}.lock")
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue
            _acquired.append(lock)
            return name
    raise AssertionError
