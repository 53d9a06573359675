"""A run's folder and record, its identity and environment, and what its config may build."""

from homoreg.runs.folder import RunFolder, find_runs

__all__ = ["RunFolder", "find_runs"]
