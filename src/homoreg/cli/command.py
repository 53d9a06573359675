"""Start and end of every command: Hydra's setup, the command line, errors in one line."""

import functools
import importlib
import io
import logging
import os
import re
import shlex
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobRuntime
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.initialize import get_gh_backup, restore_gh_from_backup
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from pydantic import TypeAdapter, ValidationError

from homoreg.cli.options import option_lines
from homoreg.cli.resolvers import given_overrides, register_resolvers
from homoreg.cli.sweeps import (
    WHERE,
    SweepRecorder,
    close_sweeps,
    continued,
    count_jobs,
    recorded_sweeps,
)
from homoreg.errors import HomoregError, exit_with, one_line
from homoreg.files import conf_dir

# Options whose value is a name or a path, even if YAML would read it as a number.
NAMES = re.compile(
    r"([\w.]+\.)?(study|root|names|runs?|pair|ckpt|to|dir|outputs|multirun"
    r"|image1|image2|images|reference|panorama|descriptor)=(?P<value>.+)"
)
# Of these, names of photographs, which often have spaces and parentheses.
PHOTOGRAPHS = ("image1=", "image2=", "images=", "reference=", "panorama=")


def command(config_name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Make a function of a config a command: ``main()`` reads the command line and runs it.

    A single run ends with exit code 0, with 2 and one line on a user's error, with 1 and a
    traceback on a bug. A sweep runs all its jobs, then prints a line for each that failed and one
    that counts them all, and ends with exit code 2 if a job failed.
    """

    def decorate(function: Callable[[DictConfig], Any]) -> Callable[[], None]:
        @functools.wraps(function)
        def job(cfg: DictConfig) -> Any:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                import_extensions(cfg.get("extensions") or ())
                return function(cfg)
            try:
                import_extensions(cfg.get("extensions") or ())
                return function(cfg)
            except Exception as error:
                exit_with(error)  # Hydra would print lines of its own first
            except KeyboardInterrupt:
                folder = os.path.relpath(HydraConfig.get().runtime.output_dir)
                goes_on = config_name in ("train", "evaluate")  # with what its folder holds
                where = [f"hydra.run.dir={folder}"] if goes_on else []
                given = HydraConfig.get().overrides
                _exit_interrupted(config_name, [*given.task, *own_configs(given.hydra), *where])

        def main() -> None:
            register_resolvers()
            # Otherwise Hydra prints errors itself and exits with 1.
            os.environ["HYDRA_FULL_ERROR"] = "1"
            logging.raiseExceptions = False  # a log on a full disk, which is reported once
            threading.excepthook = warn_of_thread
            for stream in (sys.stdout, sys.stderr):
                if isinstance(stream, io.TextIOWrapper):  # also in a locale that cannot encode a κ
                    stream.reconfigure(errors="replace")
            run = hydra.main(str(conf_dir()), config_name, version_base="1.3")(job)
            SweepRecorder.started = []
            errors: list[Exception] = []
            try:
                typed = list(config_dir_as_override(sys.argv[1:]))
                if "--options" in typed:
                    print_options(config_name, [a for a in typed if a != "--options"])
                    return
                for arguments in command_lines(config_name, typed):
                    sys.argv[1:] = arguments
                    try:
                        run()
                    except Exception as error:  # of any kind: the sweep ends with a count
                        if isinstance(error, OSError) and error.errno and not error.filename:
                            error.filename = CheckOptions.folder  # of Hydra's own files
                        errors.append(error)
            except BrokenPipeError:  # the reader has closed the output: `--options | head`
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                return
            except Exception as error:
                exit_with(error)
            except KeyboardInterrupt:
                for sweep in SweepRecorder.started:
                    print(count_jobs(sweep.jobs()))
                    _exit_interrupted(config_name, ["-m", *sweep.where])
                sys.exit(130)
            close_sweeps(SweepRecorder.started, errors)

        return main

    return decorate


def import_extensions(modules: Sequence[str]) -> None:
    """Import the user's modules, which register metrics and sections of the report.

    Raises:
        HomoregError: one that cannot be imported.
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise HomoregError(f"extensions=[{module}]: {one_line(error)}") from error


def print_options(config_name: str, overrides: Sequence[str]) -> None:
    """Print the options of a command, also those of the user's own folder of configs."""
    cfg = compose(config_name, overrides, hydra_too=True)
    own = [Path(path.removeprefix("file://")) for path in cfg.hydra.searchpath or ()]
    print("\n".join(option_lines(cfg, [conf_dir(), *own])))


def config_dir_as_override(arguments: Iterable[str]) -> Iterator[str]:
    """A command line with ``--config-dir`` as an override, which is recorded like any other.

    Raises:
        HomoregError: there is no such folder.

    >>> list(config_dir_as_override(["-m", "-cd", "/tmp", "seed=0"]))
    ['-m', "hydra.searchpath=['file:///tmp']", 'seed=0']
    """
    rest = iter(arguments)
    for argument in rest:
        flag, equals, folder = argument.partition("=")
        if flag not in ("--config-dir", "-cd"):
            yield argument
            continue
        folder = folder if equals else next(rest, "")
        if not folder or not Path(folder).is_dir():
            raise HomoregError(f"{flag} {folder}: there is no such folder")
        yield f"hydra.searchpath=['file://{Path(folder).absolute()}']"


def own_configs(overrides: Iterable[str]) -> list[str]:
    """Of the overrides of Hydra's options the one that names folders of the user's own configs."""
    return [o for o in overrides if o.startswith("hydra.searchpath=")]


def warn_of_thread(ended: threading.ExceptHookArgs) -> None:
    """One line where a thread of a library, such as TensorBoard's writer, ends with an error."""
    if ended.exc_value is not None:
        logging.getLogger("homoreg").warning(one_line(ended.exc_value))


def _exit_interrupted(config_name: str, arguments: Sequence[str]) -> NoReturn:
    command = shlex.join(["python", "-m", f"homoreg.{config_name}", *arguments])
    print(f"homoreg: interrupted; to resume: {command}", file=sys.stderr)
    sys.exit(130)


def compose(config_name: str, overrides: Sequence[str] = (), hydra_too: bool = False) -> DictConfig:
    """The config that a command would get from these overrides, for notebooks and tests.

    Args:
        hydra_too: with Hydra's own config under ``hydra``.
    """
    register_resolvers()
    running = get_gh_backup()  # a command may compose a second config
    GlobalHydra.instance().clear()
    job_name = JobRuntime.instance().get("name")  # names the log of a sweep's next jobs
    try:
        with hydra.initialize_config_dir(str(conf_dir()), job_name, version_base="1.3"):
            cfg = hydra.compose(config_name, list(overrides), return_hydra_config=True)
    finally:
        restore_gh_from_backup(running)
    with open_dict(cfg):
        if "network" in cfg:  # refers to Hydra's config, which only a command has
            cfg.network = cfg.hydra.runtime.choices.model
        if not hydra_too:
            del cfg.hydra
    return cfg


def given_options() -> set[str]:
    """The options and groups that the command line or the sweep sets for this job."""
    overrides = given_overrides(HydraConfig.get())
    return {o.key_or_group for o in OverridesParser.create().parse_overrides(overrides)}


def command_lines(config_name: str, arguments: Sequence[str]) -> list[list[str]]:
    """The command lines to pass to Hydra for a user's command line.

    Overrides are accepted on both sides of ``-m``. ``-m study=NAME`` continues the sweeps that were
    started under this name, with one command line each.
    """
    overrides = [a for a in arguments if a.startswith(("+", "~")) or re.match(r"[^-][^=]*=", a)]
    flags = [a for a in arguments if a not in overrides]
    multirun = [flag for flag in flags if flag in ("-m", "--multirun")]
    overrides = [as_typed(override) for override in overrides]
    if multirun and len(flags) > len(multirun) and {"--cfg", "-c", "--info", "-i"} & set(flags):
        flags = [flag for flag in flags if flag not in multirun]  # shows a config and runs nothing
        multirun = []
    sweeps = started_sweeps(config_name, overrides) if multirun else [overrides]
    # The processes that Lightning starts for a run's other devices leave the log to the first one.
    quiet = ["hydra/job_logging=disabled"] if os.environ.get("LOCAL_RANK", "0") != "0" else []
    # One block of overrides: argparse takes no second one behind an option such as --cfg.
    return [[*flags, *sweep, *quiet] for sweep in sweeps]


def as_typed(override: str) -> str:
    """The override with its numbers quoted where a name or a path is asked for.

    The name of a photograph is quoted where Hydra would not understand it.

    >>> as_typed("study=2026_11_25"), as_typed("runs=[2026,a]"), as_typed("seed=1_000")
    ("study='2026_11_25'", "runs=['2026',a]", 'seed=1_000')
    >>> as_typed("image1=sea (1).jpg")
    'image1="sea (1).jpg"'
    """
    value = NAMES.fullmatch(override)
    if override.startswith(PHOTOGRAPHS) and '"' not in override:
        try:
            OverridesParser.create().parse_override(override)
        except HydraException:
            key, _, name = override.partition("=")
            return f'{key}="{name}"'
    if not value or re.search(r"['\"(){}$]", value["value"]):
        return override
    number = r"(?<![^,\[])[+-]?[0-9._]+([eE][+-]?[0-9]+)?(?![^,\]])"
    return override[: value.start("value")] + re.sub(number, r"'\g<0>'", value["value"])


def started_sweeps(config_name: str, overrides: list[str]) -> list[list[str]]:
    """The overrides of each sweep that ``-m`` with these overrides starts or continues."""
    where = [o for o in overrides if o.startswith(WHERE)]
    if not where:
        return [overrides]
    folder = Path(compose(config_name, where, hydra_too=True).hydra.sweep.dir)
    recorded = [s for s in recorded_sweeps(folder) if s["command"] == config_name]
    sweeps: list[list[str]] = []
    for known in recorded:
        sweep = continued(known, overrides)
        if sweep is not None and sweep not in sweeps:  # the same for other seeds
            sweeps.append(sweep)
    for sweep in sweeps:
        print(f"{folder} goes on: {shlex.join(sweep)}")
    return sweeps or [overrides]


class CheckOptions(Callback):
    """Refuses an override whose value is of another kind than the option's default.

    All else is checked by the object that takes the option.
    """

    folder = ""  # of the run that this process has started

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        CheckOptions.folder = str(config.hydra.run.dir)
        # Hydra turns exceptions in a callback into warnings.
        try:
            own = own_configs(config.hydra.overrides.hydra)
            check_options(config.hydra.job.config_name, given_overrides(config.hydra), own)
        except Exception as error:
            exit_with(error)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        self.on_run_start(config)
        CheckOptions.folder = str(config.hydra.sweep.dir)


def check_options(config_name: str, overrides: Sequence[str], own: Sequence[str]) -> None:
    """HomoregError for the first override whose value is of another kind than the default.

    Args:
        config_name: of the command.
        overrides: of a run, or of all the jobs of a sweep.
        own: the override that names the user's own configs, if any.
    """
    loader = GlobalHydra.instance().config_loader()
    parser = OverridesParser.create(loader)
    choices, options = list(own), []
    for override in parser.parse_overrides(list(overrides)):
        values = [str(override.input_line)]
        if override.is_discrete_sweep():
            key = override.get_key_element()
            values = [f"{key}={value}" for value in override.sweep_string_iterator()]
        if loader.get_group_options(override.key_or_group):
            choices.append(values[0])
        elif not override.is_delete() and not override.is_interval_sweep():
            options += parser.parse_overrides(values)
    if not options:
        return
    defaults = loader.load_configuration(config_name, choices, RunMode.RUN)
    for override in options:
        key, value = override.key_or_group, override.value()
        default = OmegaConf.select(defaults, key, throw_on_resolution_failure=False)
        if isinstance(value, str) and "${" in value:
            continue
        if key.startswith("estimators.") and value == "auto":  # the estimator knows where it may be
            continue
        try:
            TypeAdapter(_kind(default) | None).validate_python(value, strict=True)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise HomoregError(
                f"{override.input_line}: {reason}; the default is {default}"
            ) from None


def _kind(default: Any) -> Any:
    """The type of an option's values, from its default."""
    if isinstance(default, ListConfig):
        first = _kind(default[0]) if default else Any
        return list[first | None]  # type: ignore[valid-type]
    if isinstance(default, DictConfig):
        return dict
    if isinstance(default, str):
        return str | int | float | bool
    return Any if default is None else type(default)
