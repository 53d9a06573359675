"""Metrics of descriptors on labeled patch pairs, without a homography."""

import torch
from torch import Tensor


def nearest_accuracy(descriptors1: Tensor, descriptors2: Tensor, groups: Tensor) -> Tensor:
    """How often a descriptor's nearest neighbor in its group is its own counterpart.

    It does not depend on the scale of the loss or of the descriptors, and recognizing the group
    does not help.

    Args:
        descriptors1: ``(N, D)`` of unit length.
        descriptors2: ``(N, D)``, row by row the same places.
        groups: ``(N,)``; rows of one group, such as one photo's, are each other's candidates.

    Returns:
        A scalar in [0, 1]; NaN without rows. A tie counts as wrong.

    >>> first, second = torch.eye(3), torch.eye(3)[[1, 0, 2]]
    >>> nearest_accuracy(first, second, torch.tensor([0, 0, 1])).item()
    0.3333333432674408
    """
    similarity = descriptors1 @ descriptors2.T
    similarity.masked_fill_(groups[:, None] != groups, -torch.inf)
    own = similarity.diagonal().clone()
    similarity.fill_diagonal_(-torch.inf)
    return (own > similarity.amax(1)).float().mean() if len(own) else own.new_tensor(torch.nan)


def alignment(descriptors1: Tensor, descriptors2: Tensor) -> Tensor:
    """Mean squared distance of positives, E‖f − f⁺‖² (Wang and Isola, ICML 2020).

    Args:
        descriptors1: ``(N, D)`` of unit length.
        descriptors2: ``(N, D)``, row by row the same places.

    Returns:
        A scalar in [0, 4]; 0 is perfect.
    """
    return (descriptors1 - descriptors2).pow(2).sum(1).mean()


def uniformity(descriptors: Tensor) -> Tensor:
    """log E exp(−2‖f − f′‖²) over all pairs of rows (Wang and Isola, ICML 2020).

    Args:
        descriptors: ``(N, D)`` of unit length, N ≥ 2.

    Returns:
        A scalar ≤ 0: 0 when all descriptors are equal, about −3.75 when they fill the sphere in
        32 dimensions.
    """
    return torch.pdist(descriptors).pow(2).mul(-2).exp().mean().log()


def effective_rank(descriptors: Tensor) -> Tensor:
    """exp of the entropy of the centered descriptors' normalized singular values.

    Roy and Vetterli, EUSIPCO 2007.

    Args:
        descriptors: ``(N, D)``.

    Returns:
        A scalar in [1, D]: how many dimensions the descriptors use.
    """
    values = torch.linalg.svdvals(descriptors - descriptors.mean(0))
    shares = values / values.sum()
    return torch.special.entr(shares).sum().exp()


def weight_norm(network: torch.nn.Module) -> Tensor:
    """L2 norm of all the parameters together, a scalar."""
    parameters = [p.detach().flatten() for p in network.parameters()]
    return torch.linalg.vector_norm(torch.cat(parameters))
