"""What the commands share: Hydra, the command line, sweeps, and threads and GPUs of jobs."""

from homoreg.cli.command import CheckOptions, command, compose, given_options

__all__ = ["CheckOptions", "command", "compose", "given_options"]
