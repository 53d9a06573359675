"""Training throughput of a run, of a plain loop and of the bare step."""

import gc
import logging
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from benchmarks.measure import Ratio, Row, Session, in_turns, now, rows
from benchmarks.plain_loop import PatchPairs, plain_throughput
from homoreg.cli import compose
from homoreg.data.manifest import PairManifest
from homoreg.descriptors.callbacks import Throughput
from homoreg.descriptors.checkpoint import build_network
from homoreg.descriptors.layers import to_network
from homoreg.train import build_module

SETTINGS = {
    "original: 128 px, batch 64": ["experiment=notebook"],
    "default: 32 px of 64 px, batch 256": [],
}
PLAIN, BARE = "plain loop", "bare step, batch in memory"
OWN = "homoreg, end to end"
SPARE = "default, one core left to the loader"


def measure(session: Session) -> list[Row]:
    table: list[Row] = []
    plain, share = Ratio(PLAIN, "× the plain loop"), Ratio(BARE, "of the bare step")
    for setting, overrides in SETTINGS.items():
        measured = in_turns(works(session, overrides), session.pick(3, 1))
        ratios = {OWN: [plain, share], BARE: [plain]}
        table += rows("training", setting, "patch pairs/s", measured, ratios)
    cores = torch.get_num_threads()
    if cores > 1:
        # The cost of the loader if it does not compete with the network.
        torch.set_num_threads(cores - 1)
        compared = works(session, [])
        del compared[PLAIN]
        measured = in_turns(compared, session.pick(3, 1))
        table += rows("training", SPARE, "patch pairs/s", measured, {OWN: [share]})
    return table


def works(session: Session, overrides: list[str]) -> dict[str, Callable[[], float]]:
    """The functions to compare; each returns patch pairs per second."""
    warm_up = session.pick(5, 1)
    steps = {PLAIN: session.pick(5, 1), OWN: session.pick(24, 2), BARE: session.pick(20, 1)}
    cfg = training_config(session, overrides)
    if session.quick:
        cfg.data.batch_size = 8
    # An epoch long enough for a steady state.
    cfg.data.pairs_per_view = None
    cfg.data.pairs_per_epoch = (warm_up + steps[OWN]) * cfg.data.batch_size
    return {
        # In a separate process, because a trainer changes how its process reuses freed memory.
        PLAIN: partial(session.alone, plain_loop, cfg, steps[PLAIN], session.pick(2, 1)),
        BARE: partial(bare_throughput, cfg, steps[BARE], session.pick(2, 1)),
        OWN: partial(own_throughput, cfg, warm_up),
    }


def training_config(session: Session, overrides: list[str]) -> DictConfig:
    """The config of ``homoreg.train`` under these overrides, on the session's pairs."""
    cfg = compose("train", [*overrides, "evaluation=none"])
    cfg.paths.run = str(session.scratch / "run")
    cfg.data.root = str(session.root)
    return cfg


def own_throughput(cfg: DictConfig, warm_up: int) -> float:
    """Throughput of an epoch of a run, without validation, checkpoints and pictures."""
    quiet()
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    throughput = Throughput(warm_up)
    options = {"max_epochs": 1, "limit_val_batches": 0, "enable_checkpointing": False}
    trainer = instantiate(
        cfg.trainer,
        **options | {"enable_progress_bar": False},
        callbacks=[throughput],
        logger=list(instantiate(cfg.logger).values()),
        default_root_dir=cfg.paths.run,
    )
    trainer.fit(build_module(cfg, config), instantiate(cfg.data))
    del trainer
    gc.collect()  # its worker ends here and not while something else is measured
    speed = throughput.patch_pairs_per_second
    assert speed is not None  # the epoch is longer than the warm-up
    return speed


def bare_throughput(cfg: DictConfig, steps: int, warm_up: int) -> float:
    """Patch pairs per second of forward, loss, backward and optimizer on one batch."""
    step = BareStep(cfg)
    for _ in range(warm_up):
        step()
    started = now()
    for _ in range(steps):
        step()
    return steps * cfg.data.batch_size / (now() - started)


class BareStep:
    """A training step of a run's network, loss, optimizer, precision and memory format."""

    def __init__(self, cfg: DictConfig) -> None:
        quiet()
        config: Any = OmegaConf.to_container(cfg, resolve=True)
        module = build_module(cfg, config)
        # Lightning's own choice of device and precision.
        trainer = instantiate(cfg.trainer, logger=False, enable_checkpointing=False)
        device = trainer.strategy.root_device
        layout = torch.channels_last if cfg.trainer.channels_last else torch.contiguous_format
        self.precision = trainer.precision_plugin
        self.criterion = module.loss
        self.network = module.network.to(device, memory_format=layout).train()
        self.optimizer = module.make_optimizer(self.network.parameters())
        count, size = cfg.data.batch_size, cfg.patch.size
        stored = torch.randint(256, (2 * count, size, size, 3), dtype=torch.uint8, device=device)
        self.patches = to_network(stored).contiguous(memory_format=layout)
        self.label = torch.ones(count, device=device)
        self.label[count // 2 :] = -1

    def __call__(self) -> None:
        self.backward(self.loss())
        self.update()

    def loss(self) -> torch.Tensor:
        with self.precision.forward_context():
            return self.criterion(*self.network(self.patches).chunk(2), self.label)

    def backward(self, loss: torch.Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()

    def update(self) -> None:
        self.optimizer.step()


def plain_loop(cfg: DictConfig, steps: int, warm_up: int) -> float:
    """Throughput of the plain loop with this config's network, crop, patch and batch."""
    pairs = PairManifest.load(f"{cfg.data.root}/pairs_train.json").pairs
    paths = [(pair.img1, pair.img2) for pair in pairs]
    batch = cfg.data.batch_size
    length = (warm_up + steps) * batch
    samples = PatchPairs(paths, length, crop=cfg.patch.support, size=cfg.patch.size)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = build_network(cfg.model, seed=0).to(device)
    return plain_throughput(network, samples, batch, steps, warm_up)


def quiet() -> None:
    """Silence what Lightning prints at each start."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
