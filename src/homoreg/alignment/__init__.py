"""Two photographs in, a homography out that says how far it can be trusted."""

from homoreg.alignment.aligner import Aligner
from homoreg.alignment.loading import align_images, load_aligner
from homoreg.alignment.result import Alignment

__all__ = ["Aligner", "Alignment", "align_images", "load_aligner"]
