"""Where photographs come from, and which of them are chosen for training and for evaluation."""

import importlib.util
import random
from collections.abc import Callable, Iterable
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from homoreg.data.download import Download
from homoreg.data.images import SUFFIXES
from homoreg.data.stores import Folder, PhotoStore, ZipArchive
from homoreg.errors import HomoregError


class Selection(NamedTuple):
    """The photos' names of the two sides, which have no photo and no scene in common."""

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

    This is the procedure of the study. Photos of one scene are moved up behind the first of them,
    and no scene is on both sides: without ``train`` the sides meet between two scenes, and with it
    the rest of a scene that it cuts is left out.

    Args:
        names: the pool; order and repetitions do not matter.
        seed: of the shuffle.
        train: photos for training; None takes what evaluation leaves.
        eval: photos for evaluation; None takes what training leaves, and where both are None all
            photos are split 5 to 1.
        scene: the scene that a photo shows.

    Raises:
        HomoregError: there are fewer photos than that; a side without a number needs one.

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
        # The last end of a scene that leaves enough for the other side.
        end = max((end for end in ends if end <= len(order) - held_out), default=sum(ends[:1]))
    else:
        end = train
    first = order[:end]
    known = {scene(name) for name in first}
    selection = Selection(first, [name for name in order[end:] if scene(name) not in known][:eval])

    least_train, least_eval = (1 if count is None else count for count in (train, eval))
    if len(selection.train) < least_train or len(selection.eval) < least_eval:
        raise HomoregError(
            f"source.train={_shown(train)} and source.eval={_shown(eval)} need more than the "
            f"source's {len(order)} photos of {len(scenes)} scenes; a scene stays on one side"
        )
    return selection


class Source:
    """Photographs by name, and the choice among them: the base of every source.

    A source of another kind is a subclass that hands its own ``store`` over; it may say what scene
    a photo shows.

    Args:
        store: where the photos are read from.
        train: photos for training; None takes what evaluation leaves.
        eval: photos for evaluation; None takes what training leaves; both None split 5 to 1.
        names: text file of the names to choose from, one a line; None for all of the store.
        train_list: text file of exactly the names for training; goes with ``eval_list``.
        eval_list: text file of exactly the names for evaluation.
        max_side: larger photos are brought down to this longer side, pixels; None for never.
        min_side: photos with a shorter side below this are skipped, pixels.

    Raises:
        HomoregError: an option is out of its range.
    """

    def __init__(
        self,
        store: PhotoStore,
        *,
        train: int | None = None,
        eval: int | None = None,
        names: str | None = None,
        train_list: str | None = None,
        eval_list: str | None = None,
        max_side: int | None = 640,
        min_side: int = 64,
    ) -> None:
        _check_count("train", train, 0)
        _check_count("eval", eval, 0)
        _check_count("max_side", max_side, 1)
        _check_count("min_side", min_side, 1)
        if (train_list is None) != (eval_list is None):
            raise HomoregError("source.train_list and source.eval_list go together: give both")
        self.store = store
        self.train = train
        self.eval = eval
        self.names = names
        self.train_list = train_list
        self.eval_list = eval_list
        self.max_side = max_side
        self.min_side = min_side

    def scene(self, name: str) -> str:
        """What a photo shows; photos of one scene stay on one side."""
        return name

    def read(self, name: str) -> bytes:
        """A photo's file; a PhotoError where this photo cannot be had."""
        return self.store.read(name)

    def select(self, seed: int) -> Selection:
        """The photos of the two sides.

        Raises:
            HomoregError: a list names a photo that is not there, a photo or scene is on both
                sides, or there are not enough photos.
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
            pool = present
        return select_photos(pool, seed, train=self.train, eval=self.eval, scene=self.scene)

    def record(self) -> dict[str, Any]:
        """What decides on the photos and on their first views, as plain values."""
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
                    f"{self.eval_list}: {name} shows what {other} of {self.train_list} does; "
                    "a scene stays on one side"
                )


class SampleSource(Source):
    """The photographs that scikit-image and scikit-learn install with themselves.

    Their other images are left out: drawings and test patterns, microscopy and medical images, the
    sky, flat textures, scanned text, and a clock blurred on purpose.
    """

    def __init__(self, **choice: Any) -> None:
        super().__init__(_InstalledPhotos(), **choice)

    def scene(self, name: str) -> str:
        """The two views of the stereo pair show one motorcycle."""
        return "motorcycle" if name.startswith("motorcycle") else name


class FolderSource(Source):
    """Any tree of images, named by their paths under ``root``.

    Args:
        root: the folder.
        scene_folders: photos in one folder show one scene.
        choice: as :class:`Source` takes it.
    """

    def __init__(
        self, root: str | None = None, *, scene_folders: bool = False, **choice: Any
    ) -> None:
        super().__init__(Folder(root), **choice)
        self.scene_folders = scene_folders

    def scene(self, name: str) -> str:
        return str(Path(name).parent) if self.scene_folders else name

    def record(self) -> dict[str, Any]:
        return {**super().record(), "scene_folders": self.scene_folders}


class CocoSource(Source):
    """COCO's photographs by file name, from a folder, out of a zip archive or over HTTP.

    Args:
        root: folder or zip archive; None downloads the chosen photos, and only these.
        url: address of the folder of photos, for the download.
        cache: folder that downloaded photos are kept in.
        connections: photos downloaded at once.
        tries: how often a photo is asked for.
        timeout_s: seconds without a byte after which a try ends.
        choice: as :class:`Source` takes it.
    """

    def __init__(
        self,
        root: str | None = None,
        *,
        url: str = "http://images.cocodataset.org/train2014",
        cache: str = "data/downloads",
        connections: int = 16,
        tries: int = 5,
        timeout_s: float = 20.0,
        **choice: Any,
    ) -> None:
        store: PhotoStore
        if root is None:
            store = Download(url, cache, connections=connections, tries=tries, timeout_s=timeout_s)
        elif Path(root).suffix.lower() == ".zip":
            store = ZipArchive(root, (".jpg",))
        else:
            store = Folder(root, (".jpg",), flat=True)
        super().__init__(store, **choice)


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
    """The photos above, as far as the installed versions have them."""

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
    """A folder inside an installed package, which is found and not imported."""
    package, _, inside = folder.partition("/")
    spec = importlib.util.find_spec(package)
    locations = spec.submodule_search_locations if spec else None
    return Path(locations[0], inside) if locations else Path()


def _read_list(path: str) -> list[str]:
    """The names of a text file, one a line."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise HomoregError(f"{path}: cannot be read as a list of names, one a line") from error
    names = [line.strip() for line in text.splitlines() if line.strip()]
    if len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise HomoregError(f"{path}: {twice} stands there twice; name each photo once")
    return names


def _check_present(names: list[str], present: list[str] | None, path: str) -> None:
    if present is None:
        return
    known = set(present)
    missing = [name for name in names if name not in known]
    if missing:
        raise HomoregError(
            f"{path}: {len(missing)} of {len(names)} photos are not in the source: "
            f"{', '.join(missing[:3])}{', …' * (len(missing) > 3)}"
        )


def _check_count(name: str, value: Any, least: int) -> None:
    if value is not None and (type(value) is not int or value < least):
        raise HomoregError(f"source.{name}={value}: give a whole number from {least}, or null")


def _shown(count: int | None) -> str:
    return "null" if count is None else str(count)
