"""A launcher that runs the jobs of a sweep one after the other, in this process."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job
from hydra.plugins.launcher import Launcher
from omegaconf import open_dict


class SerialLauncher(Launcher):
    """Like Hydra's basic launcher, but a job with an unwritable folder does not end the sweep."""

    def setup(self, **context: Any) -> None:
        self.config = context["config"]
        self.hydra_context = context["hydra_context"]
        self.task_function = context["task_function"]

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> list[JobReturn]:
        hydra = self.config.hydra
        configure_log(hydra.hydra_logging, hydra.verbose)
        Path(hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
        returns = []
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            returns.append(self._run(number, list(overrides)))
            configure_log(hydra.hydra_logging, hydra.verbose)
        return returns

    def _run(self, number: int, overrides: list[str]) -> JobReturn:
        config = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        try:
            return run_job(
                hydra_context=self.hydra_context,
                task_function=self.task_function,
                config=config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
        except OSError as error:  # Hydra's own files, before the job starts
            sweep = config.hydra.sweep
            error.filename = error.filename or str(Path(sweep.dir, sweep.subdir))
            failed = JobReturn(overrides=overrides, status=JobStatus.FAILED)
            failed.return_value = error
            self.hydra_context.callbacks.on_job_end(config=config, job_return=failed)
            return failed
