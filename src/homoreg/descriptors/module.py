"""Training a descriptor network on patch pairs."""

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn
from torch.nn import functional as F
from torchmetrics.functional.classification import binary_average_precision

from homoreg.data.datamodule import Batch, PatchPairDataModule
from homoreg.descriptors.cnn import to_network
from homoreg.descriptors.metrics import (
    alignment,
    fpr_at_recall,
    nearest_accuracy,
    uniformity,
    weight_norm,
)
from homoreg.descriptors.regularizers import Regularizer
from homoreg.errors import HomoregError
from homoreg.keyed import keyed_seed


class DescriptorModule(pl.LightningModule):
    """A network, the loss on its descriptors, and how it is optimized.

    Args:
        network: ``(N, 3, S, S)`` float in [0, 1] → ``(N, D)`` of unit length.
        loss: called with descriptors ``(N, D)``, ``(N, D)`` and labels ``(N,)`` of ±1.
        regularizer: the arm; its weight decay and dropout already sit in optimizer and network.
        optimizer: called with the parameters.
        scheduler: called with the optimizer; it is stepped once an epoch.
        augmentation: changes ``(N, 3, S, S)`` float patches in [0, 1] while training.
        seed: key of the dropout masks.
        identity: plain values that a checkpoint carries, enough to build the network again.
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
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = loss
        self.regularizer = regularizer
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.augmentation = augmentation
        self.seed = seed
        self.identity = identity
        # What each validation set gave, for the epoch's metrics and the callbacks' pictures.
        self.validation_outputs: dict[str, list[dict[str, torch.Tensor]]] = {}

    def setup(self, stage: str) -> None:
        self.memory_format = torch.contiguous_format
        if getattr(self.trainer, "channels_last", False):
            self.memory_format = torch.channels_last
        self.network.to(memory_format=self.memory_format)
        compile_mode = getattr(self.trainer, "compile_mode", None)
        if compile_mode:
            self.network.compile(mode=compile_mode)

    def describe_both(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Descriptors of a batch's first and second patches, in one pass of the network."""
        patches = to_network(batch["patches"])
        if self.training:
            patches = self.augmentation(patches)
        try:
            descriptors = self.network(patches.contiguous(memory_format=self.memory_format))
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = str(error).strip().splitlines()[0]
            raise HomoregError(
                f"trainer.compile=true: the network cannot be compiled here ({reason}); give false"
            ) from error
        # A CUDA graph writes its output where it wrote the last one's.
        first, second = descriptors.clone().chunk(2)
        return first, second

    def describe(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Descriptors, labels and photos of a batch, of all of it where devices share it.

        Every device computes the loss of the whole batch, so that a loss may compare any of its
        samples. The mean over devices that DDP makes of the gradients is then the gradient of one
        process: gathering adds up what each device's loss says of a descriptor.
        """
        first, second = self.describe_both(batch)
        described = {"first": first, "second": second}
        described |= {"label": batch["label"], "photo": batch["photo"]}
        if self.trainer.world_size == 1:
            return described
        for key, share in described.items():
            shares = self.all_gather(share, sync_grads=torch.is_grad_enabled())
            assert isinstance(shares, torch.Tensor)
            # Device d holds samples d, d + devices, …: taken by turns they are in order again.
            described[key] = shares.transpose(0, 1).flatten(0, 1)
        return described

    def on_train_epoch_start(self) -> None:
        # Dropout draws from torch's own stream; here it becomes a function of seed and epoch.
        # Devices that share a batch hold different samples, which need masks of their own.
        device = (self.global_rank,) if self.global_rank else ()
        torch.manual_seed(keyed_seed(self.seed, "dropout", self.current_epoch, *device))

    def training_step(self, batch: Batch, _: int) -> dict[str, Any]:
        described = self.describe(batch)
        first, second, label = (described[key] for key in ("first", "second", "label"))
        loss = self.loss(first, second, label)
        loss = loss + self.regularizer.penalty(self.network, first, second)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(first))
        return {"loss": loss, "pairs": len(first)}

    def on_validation_epoch_start(self) -> None:
        self.validation_outputs = {name: [] for name in PatchPairDataModule.VALIDATION_SETS}

    def validation_step(self, batch: Batch, _: int, dataloader_idx: int = 0) -> None:
        described = self.describe(batch)
        first, second, label = (described[key] for key in ("first", "second", "label"))
        name = PatchPairDataModule.VALIDATION_SETS[dataloader_idx]
        self.validation_outputs[name].append(
            described
            | {
                "similarity": F.cosine_similarity(first, second),
                "loss_sum": self.loss(first, second, label) * len(first),
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
            similarity, label = output["similarity"], output["label"]
            self.log(f"val/fpr95{suffix}", fpr_at_recall(similarity, label))
            # torchmetrics takes scores in [0, 1] as they are, others through a sigmoid.
            precision = binary_average_precision((similarity + 1) / 2, (label > 0).int())
            self.log(f"val/average_precision{suffix}", precision)

    def validation_output(self, name: str) -> dict[str, torch.Tensor]:
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
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["homoreg"] = self.identity
