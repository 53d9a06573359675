"""A run's folder and record: its identity, provenance and environment, and what it resumes from."""

from homoreg.runs.folder import RunFolder, find_runs

__all__ = ["RunFolder", "find_runs"]
