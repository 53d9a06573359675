"""What the benchmarks that evaluate like ``homoreg.evaluate`` start from."""

from collections.abc import Sequence

from hydra.utils import instantiate
from omegaconf import DictConfig

from homoreg.cli import compose
from homoreg.data.manifest import PairManifest
from homoreg.descriptors.descriptor import Descriptor
from homoreg.evaluate import adopt, build_baselines, finished_runs, load_runs
from homoreg.evaluation import EvaluationProtocol, ManifestBenchmark
from homoreg.evaluation.benchmarks import spread_over_photos


def evaluation_of(
    overrides: Sequence[str], pairs: int, key: str
) -> tuple[DictConfig, list[Descriptor], EvaluationProtocol, ManifestBenchmark]:
    """The config, descriptors, protocol and held-out pairs of ``homoreg.evaluate``.

    Args:
        overrides: options of ``homoreg.evaluate``.
        pairs: at most so many, spread over the photographs.
        key: of the choice of pairs.
    """
    cfg = compose("evaluate", overrides)
    given = {override.split("=")[0] for override in overrides}
    runs = finished_runs(cfg)
    if runs:
        adopt(cfg, runs, given)
    descriptors = load_runs(cfg, runs, given) + build_baselines(cfg)
    manifest = instantiate(cfg.benchmark).manifest
    chosen = spread_over_photos(manifest.pairs, pairs, key)
    benchmark = ManifestBenchmark(PairManifest(manifest.path, chosen, manifest.hash))
    return cfg, descriptors, EvaluationProtocol.from_config(cfg), benchmark
