"""A sweeper that takes a list of arms in addition to Hydra's grid of parameters."""

import shlex
from collections.abc import Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override


class ArmSweeper(BasicSweeper):
    """Runs each combination of the swept values with each arm.

    Args:
        arms: the overrides of each arm, as on a command line, such as
            ``"regularizer=l2 regularizer.weight_decay=1e-5"``. An option that is given on the
            command line leaves out the arms that set it. Without arms this is Hydra's own sweeper.
    """

    def __init__(
        self,
        max_batch_size: int | None,
        params: dict[str, str] | None = None,
        arms: Sequence[str] | None = None,
    ) -> None:
        super().__init__(max_batch_size, params)
        self.arms = list(arms or ())

    def split_arguments(  # type: ignore[override]  # a static method in Hydra
        self, overrides: list[Override], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        jobs = with_arms(overrides, self.arms)
        return list(self.split_overrides_to_chunks(jobs, max_batch_size))

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Compose the first job with each override beforehand; every job would take minutes."""
        seen: set[str] = set()
        jobs = []
        for job in batch:
            if not seen.issuperset(job):
                seen.update(job)
                jobs.append(job)
        super().validate_batch_is_legal(jobs)


def with_arms(overrides: list[Override], arms: Sequence[str]) -> list[list[str]]:
    """The overrides of each job: each combination of the swept values with each arm.

    >>> parse = OverridesParser.create().parse_overrides
    >>> with_arms(parse(["seed=0,1"]), ["regularizer=none", "regularizer=l2 optimizer.lr=0.1"])[2:]
    [['seed=1', 'regularizer=none'], ['seed=1', 'regularizer=l2', 'optimizer.lr=0.1']]
    """
    given = {override.get_key_element() for override in overrides}
    parser = OverridesParser.create()
    kept = [
        [str(override.input_line) for override in arm]
        for arm in (parser.parse_overrides(shlex.split(text)) for text in arms)
        if not given & {override.get_key_element() for override in arm}
    ]
    [combinations] = BasicSweeper.split_arguments(overrides, None)
    return [[*combination, *arm] for combination in combinations for arm in kept or [[]]]
