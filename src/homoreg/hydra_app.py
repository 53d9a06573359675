"""What the four commands share: Hydra's set-up, names of folders, and one line for every error."""

import functools
import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, InstantiationException, OverrideParseException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from homoreg.errors import HomoregError
from homoreg.files import conf_dir
from homoreg.keyed import keyed_seed
from homoreg.sweeps import Sweep, summary

log = logging.getLogger(__name__)

MAX_JOB_NAME = 120
# These always stand in a job's name, swept or not: they say which arm of which study it is.
IDENTITY = ("regularizer", "seed")


def command(config_name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Make a function of a config a command: ``main()`` reads the command line and runs it.

    A single run ends with exit code 0, with 2 and one line on a user's error, with 1 and a
    traceback on a bug. A sweep runs all its jobs, then prints one line for each that failed and one
    that counts them all, and ends with exit code 2 where a job failed.
    """

    def decorate(function: Callable[[DictConfig], Any]) -> Callable[[], None]:
        @functools.wraps(function)
        def job(cfg: DictConfig) -> Any:
            if HydraConfig.get().mode != RunMode.MULTIRUN:
                try:
                    check_types(cfg, config_name)
                    return function(cfg)
                except Exception as error:
                    # Raised, it would get lines of Hydra's before ours.
                    _exit(error)
            assert SweepStart.sweep is not None
            with SweepStart.sweep.job(Path(HydraConfig.get().runtime.output_dir), one_line):
                check_types(cfg, config_name)
                return function(cfg)

        def main() -> None:
            register_resolvers()
            # Hydra would print errors in its own way and exit with 1; here they come through.
            os.environ["HYDRA_FULL_ERROR"] = "1"
            sys.argv[1:] = _arguments(sys.argv[1:])
            run = hydra.main(str(conf_dir()), config_name, version_base="1.3")(job)
            SweepStart.sweep = None
            error: Exception | None = None
            try:
                run()
            except KeyboardInterrupt:
                if SweepStart.sweep is not None:
                    print(summary(SweepStart.sweep.notes()))
                print("homoreg: interrupted; the same command goes on from here", file=sys.stderr)
                sys.exit(130)
            except Exception as raised:  # of any kind: a failed job ends its sweep with a count
                error = raised
            if SweepStart.sweep is not None:
                _end(SweepStart.sweep, error)
            elif error is not None:
                _exit(error)

        return main

    return decorate


def compose(config_name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """The config that a command would get from these overrides, for notebooks and tests."""
    register_resolvers()
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return hydra.compose(config_name, list(overrides))


def register_resolvers() -> None:
    """Teach OmegaConf and Hydra what ``conf/`` uses; doing so twice does no harm."""
    # A cached resolver gives one answer in a process, so all jobs of a sweep share its folder.
    # Microseconds keep two sweeps of one second apart.
    OmegaConf.register_new_resolver(
        "homoreg.now",
        lambda form: datetime.now().strftime(form),
        use_cache=True,
        replace=True,
    )
    OmegaConf.register_new_resolver("homoreg.study", study_name, replace=True)
    OmegaConf.register_new_resolver("homoreg.job_name", job_name, replace=True)
    OmegaConf.register_new_resolver("homoreg.precision", default_precision, replace=True)
    # Hydra warns where a file of conf/ stands for a plugin's config of the same name.
    warnings.filterwarnings("ignore", message=r"\s*'hydra/launcher/")


def study_name(study: Any, otherwise: str) -> str:
    """The folder's name of a sweep: the study's, or ``otherwise`` where there is none."""
    if study is None:
        return otherwise
    if isinstance(study, float) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", str(study)):
        raise HomoregError(
            f"study={study}: use letters, digits and . _ + - only, and quote what reads as a "
            "decimal number, as in study='\"1e3\"'"
        )
    return str(study)


def job_name(overrides: Sequence[str], constant: Sequence[str]) -> str:
    """A job's folder, from the overrides that tell the jobs of a sweep apart.

    Args:
        overrides: the job's own, such as ``["regularizer=l2", "seed=0", "data.root=/photos"]``.
        constant: keys with one value in the whole sweep; they are left out, but for the arm's.

    >>> job_name(["seed=0", "regularizer=l2", "data.root=/photos"], ["data.root"])
    'regularizer-l2+seed-0'
    """
    parts = []
    # The seed stands last, however the sweep goes through its jobs.
    for override in sorted(overrides, key=lambda text: text.startswith("seed=")):
        key, _, value = override.partition("=")
        if key in constant and key not in IDENTITY:
            continue
        parts.append(f"{_plain(key)}-{_plain(value)}")
    name = "+".join(parts) or "job"
    if len(name) > MAX_JOB_NAME:
        name = f"{name[: MAX_JOB_NAME - 9]}-{keyed_seed(name):016x}"[:MAX_JOB_NAME]
    return name


def _plain(text: str) -> str:
    """Only characters that neither a shell nor Hydra's grammar gives a meaning."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text).strip("_")


def default_precision(accelerator: str = "auto") -> str:
    """Lightning's precision flag: bfloat16 where the hardware multiplies it, else float32."""
    import torch

    if accelerator != "cpu" and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    if accelerator in ("auto", "cpu") and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return "bf16-mixed"
    return "32-true"


def check_types(cfg: DictConfig, config_name: str) -> None:
    """HomoregError for an override whose value is of another kind than the option's default.

    What the value may be beyond its kind is checked by whatever the option goes to.
    """
    if not GlobalHydra.instance().is_initialized():
        return  # a worker of a launcher; a single run of the same options is checked
    loader = GlobalHydra.instance().config_loader()
    overrides = OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task))
    choices = [o for o in overrides if loader.get_group_options(o.key_or_group)]
    options = [o.key_or_group for o in overrides if o not in choices and not o.is_delete()]
    if not options:
        return
    defaults = loader.load_configuration(
        config_name, [str(o.input_line) for o in choices], RunMode.RUN
    )
    for key in options:
        value, default = OmegaConf.select(cfg, key), OmegaConf.select(defaults, key)
        if not _same_kind(value, default):
            kind = KINDS[type(default)]
            raise HomoregError(f"{key}={value}: give {kind}, as the default {default} is")


KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    ListConfig: "a list",
    DictConfig: "a group of options",
}


def _same_kind(value: Any, default: Any) -> bool:
    if value is None or default is None:
        return True
    if isinstance(default, ListConfig):
        first = default[0] if len(default) else None
        return isinstance(value, ListConfig) and all(_same_kind(v, first) for v in value)
    if isinstance(default, float):
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(default, str):
        return not isinstance(value, (ListConfig, DictConfig))
    return type(value) is type(default)


def _arguments(arguments: list[str]) -> list[str]:
    """The command line for Hydra: ``-m`` first, so that overrides may stand on both its sides.

    In a sweep, the keys that have one value for all jobs are told to :func:`job_name`.
    """
    flags = [a for a in arguments if a in ("-m", "--multirun")]
    overrides = [a for a in arguments if a[:1] in ("+", "~") or ("=" in a and a[:1] != "-")]
    options = [a for a in arguments if a not in flags and a not in overrides]
    parsed = OverridesParser.create().parse_overrides(overrides) if _parses(overrides) else []
    constant = [o.key_or_group for o in parsed if not o.is_sweep_override()]
    quoted = ",".join(f"'{key}'" for key in constant if not key.startswith("hydra"))
    told = [f"hydra.job.config.override_dirname.exclude_keys=[{quoted}]"]
    if os.environ.get("LOCAL_RANK", "0") != "0":
        # A process that shares the training of another one, which tells of both.
        told.append("hydra/job_logging=disabled")
    # One block of overrides: argparse takes no second one behind an option such as --cfg.
    return [*flags, *options, *overrides, *told]


def _parses(overrides: list[str]) -> bool:
    """Whether Hydra's grammar takes the overrides; if not, Hydra itself says what is wrong."""
    try:
        OverridesParser.create().parse_overrides(overrides)
    except HydraException:
        return False
    return True


class SweepStart(Callback):
    """Begins the sweep of this process, and takes it along to where a launcher runs the jobs."""

    sweep: Sweep | None = None

    def __init__(self) -> None:
        register_resolvers()

    def __getstate__(self) -> dict[str, Any]:
        return {"sweep": SweepStart.sweep}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A launcher that starts processes sends this object along before it names the folders.
        register_resolvers()
        SweepStart.sweep = state["sweep"]

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        # A name that cannot be resolved ends the sweep right after, with its own line.
        with suppress(OmegaConfBaseException):
            SweepStart.sweep = Sweep.starting(config.hydra.sweep.dir)


def _end(sweep: Sweep, error: Exception | None) -> None:
    """Tell how the jobs of a sweep went; exit with 2 where one did not end well.

    Args:
        error: what Hydra raised: a job's own, or that the jobs could not be started or waited for.
    """
    notes = sweep.notes()
    for name, note in notes.items():
        if note["outcome"] == "failed":
            print(f"homoreg: job {name} failed: {note['error']}", file=sys.stderr)
        elif note["outcome"] == "broke off":
            why = "it was killed, or still runs on another machine"
            print(f"homoreg: job {name} has not ended: {why}", file=sys.stderr)
    if notes:
        print(summary(notes))
    outcomes = {note["outcome"] for note in notes.values()}
    if error is not None and "broke off" in outcomes:
        print(f"homoreg: the launcher says: {one_line(error)}", file=sys.stderr)
    elif error is not None and "failed" not in outcomes:
        _exit(error)
    if outcomes - {"done"}:
        sys.exit(2)


def _exit(error: Exception) -> NoReturn:
    """End the process: one line and 2 for what a user can mend, the traceback and 1 for a bug."""
    if _users_error(error) is None:
        traceback.print_exception(error)
        sys.exit(1)
    print(f"homoreg: {one_line(error)}", file=sys.stderr)
    sys.exit(2)


def one_line(error: BaseException) -> str:
    """What went wrong, on one line: the innermost cause that speaks to the user."""
    cause = _users_error(error)
    if cause is None:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    if isinstance(cause, ValidationError):
        problems = cause.errors()
        where = ".".join([cause.title, *map(str, problems[0]["loc"])])
        given = problems[0].get("input")
        return f"{where}: {problems[0]['msg']} (given: {given!r})"
    text = str(cause)
    if isinstance(cause, OverrideParseException):
        text = f"{cause.override}: {cause.message}".partition("See https")[0]
    unknown = re.match(r"Could not override '([^']+)'", text)
    if unknown:
        return f"unknown option '{unknown[1]}': `--cfg job` lists the options"
    if isinstance(cause, InstantiationException):
        text = text.replace("full_key:", "in the option group")
    return " ".join(text.split())


def _users_error(error: BaseException) -> BaseException | None:
    """The innermost error of the chain that a user can mend, if there is one."""
    mine = (HomoregError, ValidationError)
    chain = list(_chain(error))
    for link in chain:
        if isinstance(link, mine):
            return link
    for link in chain:
        if isinstance(link, (HydraException, OmegaConfBaseException)):
            return link
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
