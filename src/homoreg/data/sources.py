"""Sources of photographs, and the selection of those for training and for evaluation."""

import importlib.util
import random
from collections.abc import Callable, Collection, Iterable
from dataclasses import KW_ONLY
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import pydantic
from pydantic import ConfigDict, NonNegativeInt, PositiveFloat, PositiveInt, validate_call

from homoreg.data.download import Download
from homoreg.data.images import SUFFIXES
from homoreg.data.stores import Folder, PhotoStore, ZipArchive
from homoreg.errors import HomoregError


class Selection(NamedTuple):
    """Names of the photos of both sides, which share no photo and no scene."""

    train: list[str]
    eval: list[str]


def select_photos(
    names: Iterable[str],
    seed: int,
    *,
    train: int | None = None,
    eval: int | None = None,
    scene: Callable[[str], str] = str,
) -> Selection:
    """Sort the names, shuffle them with Python's ``random``, take the first, then the next.

    This is the study's procedure. Photos of one scene follow the first of them, and no scene is on
    both sides: without ``train`` the split lies between two scenes, and with it the rest of the
    scene that it cuts is left out.

    Args:
        names: the pool, in any order, duplicates allowed.
        seed: of the shuffle.
        train: photos for training; None takes what evaluation leaves.
        eval: photos for evaluation; None takes what training leaves; both None split 5 to 1.
        scene: maps the name of a photo to its scene.

    Raises:
        HomoregError: there are too few photos; a side without a number needs at least one.

    >>> select_photos(["c", "a", "b", "d"], 42, train=2, eval=1)
    Selection(train=['c', 'b'], eval=['d'])
    """
    pool = sorted(set(names))
    random.Random(seed).shuffle(pool)
    scenes: dict[str, list[str]] = {}
    for name in pool:
        scenes.setdefault(scene(name), []).append(name)
    order = [name for group in scenes.values() for name in group]

    if train is None:
        held_out = max(1, round(len(order) / 6)) if eval is None else eval
        ends = list(accumulate(len(group) for group in scenes.values()))
        # The last end of a scene that leaves enough photos for evaluation.
        end = max((end for end in ends if end <= len(order) - held_out), default=sum(ends[:1]))
    else:
        end = train
    first = order[:end]
    known = {scene(name) for name in first}
    selection = Selection(first, [name for name in order[end:] if scene(name) not in known][:eval])

    least_train, least_eval = (1 if count is None else count for count in (train, eval))
    if len(selection.train) < least_train or len(selection.eval) < least_eval:
        raise HomoregError(
            f"source.train={'null' if train is None else train} and "
            f"source.eval={'null' if eval is None else eval} need more than the source's "
            f"{len(order)} photos of {len(scenes)} scenes; a scene stays on one side"
        )
    return selection


Count = NonNegativeInt | None
OPTIONS = ConfigDict(title="source", extra="forbid", arbitrary_types_allowed=True)


@pydantic.dataclasses.dataclass(eq=False, config=OPTIONS)
class Source:
    """Base class of the sources: photographs by name, and the selection of those to use.

    A subclass passes its own ``store`` and may override :meth:`scene`.

    Args:
        store: where the photos are read from.
        train: photos for training; None takes what evaluation leaves.
        eval: photos for evaluation; None takes what training leaves; both None split 5 to 1.
        names: text file with the names to choose from, one a line; None for all in the store.
        train_list: text file with exactly the names for training; requires ``eval_list``.
        eval_list: text file with exactly the names for evaluation.
        max_side: larger photos are reduced to this longer side, pixels; None keeps their size.
        min_side: photos with a shorter side below this are skipped, pixels.
        repeats: second views per photo where ``warp.repeats`` is None.

    Raises:
        ValidationError: an option is out of its range.
        HomoregError: one of two lists is missing.
    """

    store: PhotoStore
    _: KW_ONLY
    train: Count = None
    eval: Count = None
    names: str | None = None
    train_list: str | None = None
    eval_list: str | None = None
    max_side: PositiveInt | None = 640
    min_side: PositiveInt = 64
    repeats: PositiveInt = 1

    def __post_init__(self) -> None:
        if (self.train_list is None) != (self.eval_list is None):
            raise HomoregError("source.train_list and source.eval_list go together: give both")

    def scene(self, name: str) -> str:
        """The scene of a photo; photos of one scene stay on one side."""
        return name

    def read(self, name: str) -> bytes:
        """The bytes of a photo's file; PhotoError if it is not available."""
        return self.store.read(name)

    def select(self, seed: int, without: Collection[str] = ()) -> Selection:
        """Select the photos of both sides.

        Args:
            seed: of the shuffle.
            without: names to leave out, unless lists are given.

        Raises:
            HomoregError: a list names a photo that is missing, a photo or scene is on both sides,
                or there are too few photos.
        """
        present = self.store.names()
        if self.train_list and self.eval_list:
            selection = Selection(_read_list(self.train_list), _read_list(self.eval_list))
            _check_present(selection.train, present, self.train_list)
            _check_present(selection.eval, present, self.eval_list)
            self._check_sides(selection)
            return selection
        if self.names:
            pool = _read_list(self.names)
            _check_present(pool, present, self.names)
        elif present is None:
            raise HomoregError(
                "photos are downloaded by name: give source.names, or source.train_list and "
                "source.eval_list, or source.root for a folder or a zip archive"
            )
        elif not present:
            raise HomoregError(f"{self.store.place}: no photographs ({', '.join(SUFFIXES)})")
        else:
            pool = [name for name in present if name not in without]
        return select_photos(pool, seed, train=self.train, eval=self.eval, scene=self.scene)

    def record(self) -> dict[str, Any]:
        """The options that determine the photos and their first views, as plain values."""
        lists = {key: getattr(self, key) for key in ("names", "train_list", "eval_list")}
        return {
            "kind": type(self).__name__.removesuffix("Source").lower(),
            "place": self.store.place,
            "train": self.train,
            "eval": self.eval,
            **{key: path and str(Path(path).absolute()) for key, path in lists.items()},
            "max_side": self.max_side,
            "min_side": self.min_side,
        }

    def _check_sides(self, selection: Selection) -> None:
        scenes = {self.scene(name): name for name in selection.train}
        for name in selection.eval:
            if self.scene(name) in scenes:
                other = scenes[self.scene(name)]
                raise HomoregError(
                    f"{self.eval_list}: {name} shows the same scene as {other} in "
                    f"{self.train_list}; keep a scene on one side"
                )


class SampleSource(Source):
    """The photographs that are installed with scikit-image and scikit-learn.

    Their other images are left out: drawings, test patterns, microscopy and medical images, the
    sky, flat textures, scanned text, and a clock with motion blur.
    """

    def __init__(self, **selection: Any) -> None:
        super().__init__(_InstalledPhotos(), **selection)

    def scene(self, name: str) -> str:
        """The stereo pair is one scene."""
        return "motorcycle" if name.startswith("motorcycle") else name


class FolderSource(Source):
    """A tree of images, named by their paths under ``root``.

    Args:
        root: the folder.
        scene_folders: photos in one folder show one scene.
        selection: see :class:`Source`.
    """

    @validate_call(config=OPTIONS)
    def __init__(
        self, root: str | None = None, *, scene_folders: bool = False, **selection: Any
    ) -> None:
        super().__init__(Folder(root), **selection)
        self.scene_folders = scene_folders

    def scene(self, name: str) -> str:
        return str(Path(name).parent) if self.scene_folders else name

    def record(self) -> dict[str, Any]:
        return {**super().record(), "scene_folders": self.scene_folders}


class CocoSource(Source):
    """COCO's photographs by file name, from a folder, a zip archive or over HTTP.

    Args:
        root: folder or zip archive; None downloads the selected photos.
        url: address of the folder of photos, for the download.
        cache: folder that keeps downloaded photos.
        connections: photos downloaded at the same time.
        tries: requests per photo before it is given up.
        timeout_s: seconds without data after which a request is given up.
        selection: see :class:`Source`.
    """

    @validate_call(config=OPTIONS)
    def __init__(
        self,
        root: str | None = None,
        *,
        url: str = "http://images.cocodataset.org/train2014",
        cache: str = "data/downloads",
        connections: PositiveInt = 16,
        tries: PositiveInt = 5,
        timeout_s: PositiveFloat = 20.0,
        **selection: Any,
    ) -> None:
        store: PhotoStore
        if root is None:
            store = Download(url, cache, connections=connections, tries=tries, timeout_s=timeout_s)
        elif Path(root).suffix.lower() == ".zip":
            store = ZipArchive(root, (".jpg",))
        else:
            store = Folder(root, (".jpg",), flat=True)
        super().__init__(store, **selection)


SAMPLE_PHOTOS = {
    "skimage/data": (
        "astronaut.png",
        "camera.png",
        "chelsea.png",
        "coffee.png",
        "coins.png",
        "motorcycle_left.png",
        "motorcycle_right.png",
        "rocket.jpg",
    ),
    "sklearn/datasets/images": ("china.jpg", "flower.jpg"),
}


class _InstalledPhotos(PhotoStore):
    """Those of ``SAMPLE_PHOTOS`` that the installed versions have."""

    place = "the photographs of scikit-image and scikit-learn"

    def __init__(self) -> None:
        self._files = {
            name: file
            for folder, names in SAMPLE_PHOTOS.items()
            for name in names
            if (file := _installed(folder) / name).is_file()
        }

    def names(self) -> list[str]:
        return list(self._files)

    def read(self, name: str) -> bytes:
        return self._files[name].read_bytes()


def _installed(folder: str) -> Path:
    """A folder in an installed package, located without importing it."""
    package, _, inside = folder.partition("/")
    spec = importlib.util.find_spec(package)
    locations = spec.submodule_search_locations if spec else None
    return Path(locations[0], inside) if locations else Path()


def _read_list(path: str) -> list[str]:
    """Read names from a text file, one a line."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise HomoregError(f"{path}: cannot be read as a list of names, one a line") from error
    names = [line.strip() for line in text.splitlines() if line.strip()]
    if len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise HomoregError(f"{path}: {twice} is listed twice; list each photo once")
    return names


def _check_present(names: list[str], present: list[str] | None, path: str) -> None:
    known = set(names if present is None else present)
    missing = [name for name in names if name not in known]
    if missing:
        raise HomoregError(
            f"{path}: {len(missing)} of {len(names)} photos are not in the source: "
            f"{', '.join(missing[:3])}{', …' * (len(missing) > 3)}"
        )
