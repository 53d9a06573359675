"""Photographs fetched by name over HTTP, so that a few thousand need not cost the whole archive."""

import re
import threading
import time
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote, urlsplit

import requests

from homoreg.data.images import PhotoError, decode_image
from homoreg.data.stores import PhotoStore
from homoreg.errors import HomoregError

# Of a chunk that breaks off nothing is kept.
CHUNK_BYTES = 4096
# So many photos in a row that fail in every try: it is not the photos.
FAILURES_IN_A_ROW = 20
# Refusals that may pass; every other 4xx is final.
PASSING_STATUS = (408, 425, 429)
NO_SUCH_RANGE = 416


class DownloadError(PhotoError):
    """A photo that could not be fetched this time and may be there the next."""


class Download(PhotoStore):
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
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
            raise HomoregError(f"source.url={url}: give an address that starts with http(s)://")
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
        part = path.with_name(f"{path.name}.part")
        problem: Exception | None = None
        for attempt in range(self.tries):
            if attempt:
                time.sleep(self.backoff_s * 2 ** (attempt - 1))
            try:
                self._request(name, part)
            except requests.RequestException as error:
                problem = error
                continue
            try:
                decode_image(part.read_bytes(), name)
            except PhotoError as error:
                # Everything came and it is no photo, so there is no use in going on from it.
                problem = error
                part.unlink()
                continue
            part.replace(path)
            self._failures_in_a_row = 0
            return
        self._give_up(name, problem)

    def _request(self, name: str, part: Path) -> None:
        """Ask once for a photo, or for what is missing of it, and append what comes to ``part``."""
        have = part.stat().st_size if part.exists() else 0
        headers = {"Accept-Encoding": "identity"}  # so that Content-Length counts the file's bytes
        if have:
            headers["Range"] = f"bytes={have}-"
        address = f"{self.place}/{quote(name)}"
        with self._session.get(
            address, headers=headers, stream=True, timeout=self.timeout_s
        ) as response:
            status = response.status_code
            if status == NO_SUCH_RANGE:
                part.unlink(missing_ok=True)
            elif 400 <= status < 500 and status not in PASSING_STATUS:
                raise PhotoError(f"{name}: HTTP {status} at {self.place}")
            response.raise_for_status()
            resumes = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            with part.open("ab" if have and resumes else "wb") as file:
                start = file.tell()
                for chunk in response.iter_content(CHUNK_BYTES):
                    file.write(chunk)
                received = file.tell() - start
            announced = int(response.headers.get("Content-Length", received))
            if received != announced:
                raise requests.ConnectionError(f"{received} of {announced} bytes came")

    def _give_up(self, name: str, problem: Exception | None) -> NoReturn:
        self._failures_in_a_row += 1
        reason = " ".join(str(problem).split())[:200]
        if self._failures_in_a_row >= FAILURES_IN_A_ROW:
            raise HomoregError(
                f"source.url={self.place}: {FAILURES_IN_A_ROW} photos in a row could not be "
                f"downloaded ({reason}); the same command goes on where this one stopped"
            )
        raise DownloadError(f"{name}: not downloaded in {self.tries} tries ({reason})")

    @property
    def _session(self) -> requests.Session:
        """One a thread, for they are not to be shared; it keeps its connection open."""
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
        return self._local.session
