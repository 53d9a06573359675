"""The style of every figure: one palette, in which an arm has one color and marker on every page.

The colors of the regularizers are distinguishable with red-green color blindness; markers, lines
and hatches distinguish all arms without color.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from io import BytesIO
from pathlib import Path
from typing import Any, ParamSpec
from zlib import crc32

from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image

from homoreg.files import write_bytes

P = ParamSpec("P")
INK, GRAY, LIGHT_GRAY = "#222222", "#666666", "#e4e4e4"
ACCENT = "#D55E00"  # an estimate, against a truth in INK
BLUE = "#0072B2"  # what is right, against what is wrong in ACCENT
WIDTH_IN = 9.0  # of a figure that fills the page
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GRAY,
    "axes.grid": True,
    "grid.color": LIGHT_GRAY,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.wspace": 0.05,
    "svg.fonttype": "path",  # independent of the reader's fonts
    "svg.hashsalt": "homoreg",  # the same data gives the same file
}


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw a figure in the common style."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def save_figure(figure: Figure, path: Path, **options: Any) -> None:
    """Save a figure atomically; ``options`` are those of matplotlib's ``savefig``.

    It is encoded in memory: Pillow, which matplotlib uses, does not notice that a full disk took
    only a part of what it writes to a file.
    """
    content = BytesIO()
    figure.savefig(content, format=path.suffix.removeprefix("."), **options)
    write_bytes(path, content.getvalue())


def save_image(image: Image.Image, path: Path, **options: Any) -> None:
    """Save an image atomically; ``options`` are those of Pillow's ``save``."""
    content = BytesIO()
    image.save(content, Image.registered_extensions()[path.suffix.lower()], **options)
    write_bytes(path, content.getvalue())


@dataclass(frozen=True)
class ArmStyle:
    """Color, marker, line style and hatch of an arm."""

    color: str
    marker: Any
    linestyle: Any
    hatch: str

    @property
    def line(self) -> dict[str, Any]:
        """Of a line with markers, for matplotlib's ``plot``."""
        return {"color": self.color, "marker": self.marker, "linestyle": self.linestyle}

    @property
    def mark(self) -> dict[str, Any]:
        """Of markers without a line."""
        return self.line | {"linestyle": "none"}


# Of the regularizers in conf/, then of the controls and the baselines that are shown most.
FIXED = {
    "none": ArmStyle(INK, "o", "-", ""),
    "l2": ArmStyle(BLUE, "s", "--", "////"),
    "dropout": ArmStyle("#D98E00", "^", "-.", "...."),
    "hybrid": ArmStyle("#009E73", "D", ":", "xxxx"),
    "adamw": ArmStyle("#004488", "v", (0, (5, 1)), "----"),
    "spatial_dropout": ArmStyle("#662200", "X", (0, (1, 1)), "||||"),
    "photometric": ArmStyle("#EE99AA", (4, 1, 0), (0, (4, 4)), "-."),
    "sosr": ArmStyle("#6B6B00", ">", (0, (8, 2)), "//"),
    "gor": ArmStyle("#8DA0CB", "*", (0, (6, 2, 1, 2, 1, 2)), "++++"),
    "decorrelation": ArmStyle("#01665E", "$♥$", (0, (6, 3)), "--"),
    "oracle": ArmStyle("#882255", "<", (0, (2, 2)), "oooo"),
    "untrained": ArmStyle("#7A4B2A", "d", (0, (7, 1, 1, 1)), ".."),
    "raw_patches": ArmStyle("#332288", "p", (0, (4, 1, 1, 1)), "**"),
    "sift": ArmStyle("#56B4E9", "P", (0, (3, 1, 1, 1)), "\\\\\\\\"),
    "rootsift": ArmStyle("#B3A200", "h", (0, (3, 3)), "xx"),
    "orb": ArmStyle("#999999", "$◣$", (0, (1, 4)), "||"),
    "tfeat": ArmStyle("#44AA99", "8", (0, (1, 2)), "OO"),
}
# Of all other arms and baselines.
OTHERS = (
    ArmStyle("#CC79A7", "$♣$", (0, (9, 3)), "\\\\"),
    ArmStyle(ACCENT, "$♠$", (0, (2, 1)), "++"),
    ArmStyle("#4444EE", "$◐$", (0, (5, 1, 1, 1, 1, 1)), "oo"),
    ArmStyle("#AA4499", (8, 1, 0), (0, (3, 3, 1, 3)), "/."),
    ArmStyle("#448888", "$◢$", (0, (8, 2, 2, 2)), "\\."),
    ArmStyle("#EE6677", "$Z$", (0, (1, 1, 3, 1)), "|."),
    ArmStyle("#CC3311", "$◗$", (0, (10, 1)), "x."),
    ArmStyle("#777777", "$N$", (0, (2, 4)), "/o"),
)
PALETTE = (*FIXED.values(), *OTHERS)  # for series that are not arms


def arm_styles(arms: Iterable[str]) -> dict[str, ArmStyle]:
    """A style for each arm or baseline.

    The names in :data:`FIXED` look the same in every figure. Any other name prefers the style given
    by its checksum, so that it usually looks the same whatever else is shown; where two names of a
    figure prefer the same one, the second in alphabetical order gets the next free style. Styles
    repeat only beyond eight such names.

    >>> arm_styles(["none", "mine"])["mine"] == arm_styles(["mine"])["mine"]
    True
    """
    styles: dict[str, ArmStyle] = {}
    free = set(range(len(OTHERS)))
    for arm in sorted(set(arms)):
        if arm in FIXED:
            styles[arm] = FIXED[arm]
            continue
        free = free or set(range(len(OTHERS)))
        preferred = crc32(arm.encode())
        place = min(free, key=lambda place: (place - preferred) % len(OTHERS))
        free.remove(place)
        styles[arm] = OTHERS[place]
    return styles
