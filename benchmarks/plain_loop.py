"""The original study's training loop, written plainly: the reference for training throughput.

A sample decodes two images with PIL, resizes them to 256×256 and crops each: view 1 at a random
place, and view 2 at the same place to within 5 px (label +1) or, with probability 0.5, view 2 of
another photo at another place (label −1). The network runs once for the first patches and once for
the second, in float32.
"""

import os
import random
from pathlib import Path

import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.measure import now

SQUASHED_PX = 256
OFFSET_PX = 5


class PatchPairs(Dataset):
    """The original study's samples.

    Args:
        pairs: paths of both views of each pair.
        length: samples in an epoch; the original had ten for each pair.
        crop: side of the crops, pixels of the squashed image.
        size: side of the network's input, pixels; by default that of the crop.
    """

    def __init__(
        self, pairs: list[tuple[Path, Path]], length: int, crop: int, size: int | None = None
    ) -> None:
        self.pairs = pairs
        self.length = length
        self.crop = crop
        steps = [transforms.Resize(size)] if size not in (None, crop) else []
        self.to_patch = transforms.Compose([*steps, transforms.ToTensor()])

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, float]:
        own = index % len(self.pairs)
        view1, view2 = (self.load(path) for path in self.pairs[own])
        room = SQUASHED_PX - self.crop
        x, y = random.randint(0, room), random.randint(0, room)
        if random.random() < 0.5:
            label = 1.0
            x2 = min(max(x + random.randint(-OFFSET_PX, OFFSET_PX), 0), room)
            y2 = min(max(y + random.randint(-OFFSET_PX, OFFSET_PX), 0), room)
        else:
            label = -1.0
            other = random.choice([i for i in range(len(self.pairs)) if i != own])
            view2 = self.load(self.pairs[other][1])
            x2, y2 = random.randint(0, room), random.randint(0, room)
        return self.patch(view1, x, y), self.patch(view2, x2, y2), label

    def load(self, path: Path) -> Image.Image:
        return Image.open(path).convert("RGB").resize((SQUASHED_PX, SQUASHED_PX))

    def patch(self, image: Image.Image, x: int, y: int) -> torch.Tensor:
        return self.to_patch(image.crop((x, y, x + self.crop, y + self.crop)))


def plain_throughput(
    network: nn.Module, samples: PatchPairs, batch_size: int, steps: int, warm_up: int = 2
) -> float:
    """Patch pairs per second over ``steps`` steps, after ``warm_up`` steps that are not counted.

    The original used 32 loader workers on a cluster node; this uses one for each core.
    """
    loader = DataLoader(samples, batch_size, shuffle=True, num_workers=os.cpu_count() or 1)
    criterion = nn.CosineEmbeddingLoss(margin=0.5)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    network.train()
    device = next(network.parameters()).device
    for step, (patches1, patches2, labels) in enumerate(loader):
        if step == warm_up:
            started = now()
        optimizer.zero_grad()
        descriptors1 = network(patches1.to(device))
        descriptors2 = network(patches2.to(device))
        loss = criterion(descriptors1, descriptors2, labels.float().to(device))
        loss.backward()
        optimizer.step()
        loss.item()
        if step + 1 == warm_up + steps:
            return steps * batch_size / (now() - started)
    raise ValueError(f"{len(samples)} samples do not make {warm_up + steps} batches")
