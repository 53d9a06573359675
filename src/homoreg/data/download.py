"""Photographs fetched by name over HTTP, so that a few thousand need not cost the whole archive."""

import logging
import os
import re
import threading
import time
from pathlib import Path
from urllib.parse import quote

import requests

from homoreg.data.images import PhotoError, decode_image
from homoreg.errors import HomoregError

log = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 16
# So many photos in a row that fail in every try: it is not the photos.
FAILURES_IN_A_ROW = 20
# Answers to another request may be better; every other 4xx is final.
PASSING_STATUS = (408, 425, 429)


class DownloadError(PhotoError):
    """A photo that could not be fetched this time and may be there the next."""


class Download:
    """Photos at ``<url>/<name>``, kept in a folder once they are whole.

    A try that ends early leaves ``<name>.part``, and the next one asks for the rest of it. A photo
    is whole when it has the announced size and decodes to its last byte.

    Args:
        url: address of the folder of photos.
        cache: folder for the photos.
        connections: how many photos are fetched at once.
        tries: how often a photo is asked for before it is given up.
        timeout_s: seconds without a byte after which a try ends.
        backoff_s: seconds before the second try; doubled before each further one.
    """

    def __init__(
        self,
        url: str,
        cache: str | Path,
        *,
        connections: int = 16,
        tries: int = 5,
        timeout_s: float = 20.0,
        backoff_s: float = 0.5,
    ) -> None:
        self.place = url.rstrip("/")
        self.cache = Path(cache)
        self.threads = connections
        self.tries = tries
        self.timeout_s = timeout_s
        self.backoff_s = backoff_s
        self._failures_in_a_row = 0
        self._local = threading.local()

    def names(self) -> None:
        return None

    def read(self, name: str) -> bytes:
        """A photo's file, from the folder or else from the server.

        Raises:
            DownloadError: every try failed.
            PhotoError: the server does not have it, or will not give it.
            HomoregError: nothing has come from the server for many photos.
        """
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*", name) or ".." in name.split("/"):
            raise PhotoError(f"{name}: not a name that can be asked for over HTTP")
        path = self.cache / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fetch(name, path)
        return path.read_bytes()

    def _fetch(self, name: str, path: Path) -> None:
        part = path.with_name(path.name + ".part")
        problem: Exception | None = None
        for attempt in range(self.tries):
            if attempt:
                time.sleep(self.backoff_s * 2 ** (attempt - 1))
            try:
                self._request(name, part)
                decode_image(part.read_bytes(), name)
            except requests.RequestException as error:
                problem = error
            except _NotThere:
                part.unlink(missing_ok=True)
                raise
            except PhotoError as error:
                # All the bytes came and they are no photo: start over.
                problem = error
                part.unlink()
            else:
                part.replace(path)
                self._failures_in_a_row = 0
                return
            log.debug("try %d of %s: %s", attempt + 1, name, problem)
        self._give_up(name, problem)
