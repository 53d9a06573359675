"""Training a descriptor network on patch pairs."""

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.functional.classification import (
    binary_average_precision,
    binary_specificity_at_sensitivity,
)

from homoreg.data.datamodule import Batch, PatchPairDataModule
from homoreg.descriptors.layers import to_network
from homoreg.descriptors.losses import compute_loss
from homoreg.descriptors.metrics import alignment, nearest_accuracy, uniformity, weight_norm
from homoreg.descriptors.regularizers import Regularizer
from homoreg.errors import HomoregError
from homoreg.keyed import keyed_seed

CHECK_EVERY_N_STEPS = 10  # for a loss that is not finite; each check waits for the device


class DescriptorModule(pl.LightningModule):
    """A network, the loss on its descriptors, and how it is optimized.

    Args:
        network: ``(N, 3, S, S)`` float in [0, 1] → ``(N, D)`` of unit length.
        loss: see :mod:`homoreg.descriptors.losses`.
        regularizer: the arm; the optimizer already has its weight decay.
        optimizer: called with the parameters.
        scheduler: called with the optimizer; it is stepped once an epoch.
        augmentation: changes ``(N, 3, S, S)`` float patches in [0, 1] while training.
        seed: key of the dropout masks.
        identity: plain values that a checkpoint carries, enough to build the network again.
        channels_last: memory format of weights and patches, which convolutions read faster.
        compile_mode: of ``torch.compile``, which generates the network's kernels; None for not.

    Raises:
        HomoregError: in training, the network gives no ``(N, D)`` float tensor, the loss or the
            penalty is no scalar, or descriptors or loss are not finite.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        regularizer: Regularizer,
        optimizer: Callable[..., torch.optim.Optimizer],
        scheduler: Callable[..., torch.optim.lr_scheduler.LRScheduler],
        augmentation: nn.Module,
        seed: int,
        identity: dict[str, Any],
        channels_last: bool = True,
        compile_mode: str | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = loss
        self.regularizer = regularizer
        regularizer.set_up(network)
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.augmentation = augmentation
        self.seed = seed
        self.identity = identity
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.compile_mode = compile_mode
        # What each validation set gave, for the epoch's metrics and the callbacks' pictures.
        self.validation_outputs: dict[str, list[dict[str, Tensor]]] = {}

    def setup(self, stage: str) -> None:
        self.network.to(memory_format=self.memory_format)
        if self.compile_mode:
            self.network.compile(mode=self.compile_mode)

    def describe_patches(self, patches: Tensor) -> Tensor:
        """Descriptors ``(N, D)`` float32 of patches ``(N, S, S, 3)`` uint8."""
        patches = to_network(patches)
        if self.training:
            patches = self.augmentation(patches)
        try:
            descriptors = self.network(patches.contiguous(memory_format=self.memory_format))
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = str(error).strip().splitlines()[0]
            raise HomoregError(
                f"trainer.compile=true: the network cannot be compiled here ({reason}); give false"
            ) from error
        described = isinstance(descriptors, Tensor) and descriptors.is_floating_point()
        if not described or descriptors.ndim != 2 or len(descriptors) != len(patches):
            raise HomoregError(
                f"model._target_={_name(self.network)} gives {_shape(descriptors)} for "
                f"{len(patches)} patches: a network gives a float tensor ({len(patches)}, D)"
            )
        # Cloned, since a CUDA graph writes its next output to the same place.
        return descriptors.float().clone()

    def describe(self, batch: Batch) -> dict[str, Tensor]:
        """The descriptors of a batch with its other tensors, gathered where devices share it.

        Every device computes the loss of the whole batch, so that a loss may compare any of its
        samples. The mean over devices that DDP makes of the gradients is then the gradient of one
        process: gathering adds up what each device's loss says of a descriptor.
        """
        first, second = self.describe_patches(batch["patches"]).chunk(2)
        described = {"first": first, "second": second}
        described |= {key: batch[key] for key in ("label", "photo", "pair", "points1", "points2")}
        if self.trainer.world_size == 1:
            return described
        for key, share in described.items():
            shares = self.all_gather(share, sync_grads=torch.is_grad_enabled())
            assert isinstance(shares, Tensor)
            # Device d holds samples d, d + devices, …: taken by turns they are in order again.
            described[key] = shares.transpose(0, 1).flatten(0, 1)
        return described

    def loss_of(self, described: dict[str, Tensor]) -> Tensor:
        """The loss of a batch, a scalar without the regularizer's penalty."""
        loss = compute_loss(self.loss, described["first"], described["second"], described)
        if not isinstance(loss, Tensor) or loss.ndim:
            raise HomoregError(
                f"loss._target_={_name(self.loss)} gives {_shape(loss)}: a loss gives a scalar "
                "tensor, such as the mean over the batch"
            )
        return loss

    def penalty_of(self, described: dict[str, Tensor]) -> Tensor | float:
        """The regularizer's penalty on a batch, in float32 as the loss is."""
        first, second = described["first"], described["second"]
        with torch.autocast(first.device.type, enabled=False):
            penalty = self.regularizer.penalty(self.network, first, second, described)
        if penalty.ndim if isinstance(penalty, Tensor) else not isinstance(penalty, (int, float)):
            raise HomoregError(
                f"regularizer._target_={_name(self.regularizer)} gives {_shape(penalty)}: a "
                "penalty is a scalar, such as the mean over the batch"
            )
        return penalty

    def on_train_epoch_start(self) -> None:
        # Dropout draws from torch's own stream; here it becomes a function of seed and epoch.
        # Devices that share a batch hold different samples, which need masks of their own.
        device = (self.global_rank,) if self.global_rank else ()
        torch.manual_seed(keyed_seed(self.seed, "dropout", self.current_epoch, *device))

        self.log("train/learning_rate", self._learning_rate())

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        described = self.describe(batch)
        loss = self.loss_of(described)
        # NaN in the weights stays there.
        if self.trainer.is_last_batch or batch_idx % CHECK_EVERY_N_STEPS == 0:
            self._check_finite(loss, described)
        self.log("train/loss_step", loss, prog_bar=True)
        count = len(described["first"])
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=count)
        penalty = self.penalty_of(described)
        if isinstance(penalty, Tensor):
            self.log("train/penalty", penalty, on_step=False, on_epoch=True, batch_size=count)
        return {"loss": loss + penalty, "pairs": count}

    def _learning_rate(self) -> float:
        return float(self.trainer.optimizers[0].param_groups[0]["lr"])

    def _check_finite(self, loss: Tensor, described: dict[str, Tensor]) -> None:
        if torch.isfinite(loss):
            return
        if self.global_step == 0 and not torch.isfinite(described["first"]).all():
            raise HomoregError(
                f"model._target_={_name(self.network)} gives descriptors that are not finite"
            )
        raise HomoregError(
            f"the loss is {loss.item()} after {self.global_step} steps: lower "
            f"optimizer.lr={self._learning_rate()}, set trainer.gradient_clip_val, or check "
            f"loss._target_={_name(self.loss)}"
        )

    def on_validation_epoch_start(self) -> None:
        self.validation_outputs = {name: [] for name in PatchPairDataModule.VALIDATION_SETS}

    def validation_step(self, batch: Batch, _: int, dataloader_idx: int = 0) -> None:
        described = self.describe(batch)
        first, second = described["first"], described["second"]
        loss = self.loss_of(described)
        self._check_finite(loss, described)
        name = PatchPairDataModule.VALIDATION_SETS[dataloader_idx]
        self.validation_outputs[name].append(
            described
            | {
                "similarity": F.cosine_similarity(first, second),
                "loss_sum": loss * len(first),
            }
        )

    def on_validation_epoch_end(self) -> None:
        val = self.validation_output("val")
        count = len(val["label"])
        positive = val["label"] > 0
        loss = val["loss_sum"].sum() / count
        self.log("val/loss", loss, prog_bar=True)
        self.log("val/alignment", alignment(val["first"][positive], val["second"][positive]))
        self.log("val/uniformity", uniformity(val["first"]))
        self.log("train/weight_norm", weight_norm(self.network))
        train = self.validation_output("train_eval")
        train_loss = train["loss_sum"].sum() / len(train["label"])
        self.log("train/loss_eval", train_loss)
        self.log("val/gap", loss - train_loss)
        hard = self.validation_output("val_same_photo")
        places = hard["label"] > 0
        first, second, photo = (hard[key][places] for key in ("first", "second", "photo"))
        self.log("val/nn_accuracy", nearest_accuracy(first, second, photo))
        for name, suffix in (("val", ""), ("val_same_photo", "_same_photo")):
            output = self.validation_output(name)
            # torchmetrics takes scores in [0, 1] as they are, others through a sigmoid.
            scores, labels = (output["similarity"] + 1) / 2, (output["label"] > 0).int()
            if labels.all():
                continue  # data.sampling.positive_share=1: nothing to tell the positives from
            specificity, _ = binary_specificity_at_sensitivity(scores, labels, 0.95)
            self.log(f"val/fpr95{suffix}", 1 - specificity)
            self.log(f"val/average_precision{suffix}", binary_average_precision(scores, labels))

    def validation_output(self, name: str) -> dict[str, Tensor]:
        """A validation set's tensors, all batches together, from the latest validation."""
        batches = self.validation_outputs[name]
        return {
            key: torch.stack([b[key] for b in batches])
            if batches[0][key].ndim == 0
            else torch.cat([b[key] for b in batches])
            for key in batches[0]
        }

    def configure_optimizers(self) -> Any:
        try:
            optimizer = self.make_optimizer(self.network.parameters())
            scheduler = self.make_scheduler(optimizer)
        except ValueError as error:
            raise HomoregError(f"optimizer or scheduler: {error}") from error
        if self.regularizer.decoupled and not optimizer.defaults.get("decoupled_weight_decay"):
            raise HomoregError(
                f"regularizer.decoupled=true: {_name(optimizer)} couples weight decay into the "
                "gradient; give optimizer=adam or optimizer=adamw"
            )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler}}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse what another network or optimizer has left, before Lightning loads it."""
        stored = {key: tuple(value.shape) for key, value in checkpoint["state_dict"].items()}
        own = {key: tuple(value.shape) for key, value in self.state_dict().items()}
        for key in (*own, *stored):
            if stored.get(key) != own.get(key):
                raise HomoregError(
                    f"the checkpoint to resume from holds another network: {key} is "
                    f"{stored.get(key)} there and {own.get(key)} here; give ckpt of this model"
                )
        optimizer = self.make_optimizer(self.network.parameters())
        options = set(checkpoint["optimizer_states"][0]["param_groups"][0]) - {"initial_lr"}
        if options != set(optimizer.param_groups[0]):
            raise HomoregError(
                "the checkpoint to resume from was written with another optimizer than "
                f"{_name(optimizer)}; give ckpt of a run with this one"
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["homoreg"] = self.identity


def _name(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _shape(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
    return f"a {type(value).__name__}"
