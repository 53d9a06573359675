"""Versions of the code and the libraries, host and hardware, for a run's record."""

import os
import platform
import socket
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import torch

PACKAGES = ("homoreg", "torch", "lightning", "hydra-core", "numpy", "kornia")


def environment_info() -> dict[str, Any]:
    """Git revision, package versions, host, process and hardware."""
    cuda = torch.cuda.is_available()
    return {
        "git_revision": git_revision(),
        "versions": package_versions(),
        "host": socket.gethostname(),
        "process": os.getpid(),
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if cuda else None,
        },
    }


def package_versions() -> dict[str, str]:
    """The versions of Python and of the libraries that numbers depend on."""
    # OpenCV has several packages (headless, contrib) and says itself which version it is.
    versions = {"python": platform.python_version(), "opencv": cv2.__version__}
    return versions | {package: version(package) for package in PACKAGES}


def git_revision() -> str | None:
    """The commit of the code, with ``+`` where files differ from it; None outside git."""

    def git(*arguments: str) -> str:
        folder = Path(__file__).parent
        # A run that is killed meanwhile leaves no lock in the repository.
        return subprocess.run(
            ["git", "--no-optional-locks", *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
