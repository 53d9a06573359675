"""Systems: matchers of two images that find keypoints of their own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from homoreg.errors import HomoregError

# Two (H, W, 3) uint8 RGB images → matched points (M, 2) in each, x, y in pixels, and optionally
# their scores (M,) in [0, 1], 1 for the most certain.
ImageMatcher = Callable[[np.ndarray, np.ndarray], Sequence[np.ndarray]]


@dataclass(frozen=True)
class System:
    """A matcher of images under the name of its rows.

    Attributes:
        name: value of the ``descriptor`` column.
        matcher: images in, matched points out.
    """

    name: str
    matcher: ImageMatcher

    def match(
        self, image1: np.ndarray, image2: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Matched points ``(M, 2)`` of both images and scores ``(M,)``, float64 and finite.

        The scores are 1 where the matcher gives none. A match with a coordinate that is not finite
        is left out.

        Raises:
            HomoregError: the matcher returned something else.
        """
        found = self.matcher(image1, image2)
        try:
            parts = [np.asarray(part, np.float64) for part in found]
            points1, points2 = (np.reshape(part, (len(part), 2)) for part in parts[:2])
            scores = parts[2] if len(parts) > 2 else np.ones(len(points1))
            fits = len(parts) < 4 and len(points1) == len(points2) == len(scores) == scores.size
        except (TypeError, ValueError):
            fits = False
        if not fits:
            raise HomoregError(
                f"system {self.name}: return matched points (M, 2) of either image, x, y in "
                "pixels, and scores (M,) if there are any"
            )
        if not ((scores >= 0) & (scores <= 1)).all():
            raise HomoregError(f"system {self.name}: scores are from 0 to 1, the surest 1")
        finite = np.isfinite(np.hstack([points1, points2])).all(1)
        return points1[finite], points2[finite], scores[finite]
