"""What the commands share: Hydra, the command line, and the sweeps and jobs that it starts."""

from homoreg.cli.command import CheckOptions, command, compose, given_options

__all__ = ["CheckOptions", "command", "compose", "given_options"]
