"""Download of photographs by name over HTTP."""

import re
import threading
import time
from pathlib import Path
from urllib.parse import quote, urlsplit

import requests

from homoreg.data.images import PhotoError, decode_image
from homoreg.data.stores import PhotoStore
from homoreg.errors import HomoregError
from homoreg.files import write_bytes

# After this many photos in a row that failed in every try, the server is taken to be down.
FAILURES_IN_A_ROW = 20
# Client errors that are worth another try; every other 4xx is final.
TEMPORARY_STATUS = (408, 425, 429)


class DownloadError(PhotoError):
    """A photo that could not be downloaded; another run may succeed."""


class Download(PhotoStore):
    """Photos at ``<url>/<name>``, kept in a folder.

    A photo is kept once it has the announced size and decodes completely, so a run that was
    interrupted downloads only what is missing.

    Args:
        url: address of the folder of photos.
        cache: folder for the photos.
        connections: photos downloaded at the same time.
        tries: requests per photo before it is given up.
        timeout_s: seconds without data after which a request is given up.
        backoff_s: seconds before the second request; doubled before each further one.
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
        """A photo's file, from the folder or from the server.

        Raises:
            DownloadError: every try failed.
            PhotoError: the server does not have the photo or denies it.
            HomoregError: many photos in a row could not be downloaded.
        """
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*", name) or ".." in name.split("/"):
            raise PhotoError(f"{name}: not a name that can be requested over HTTP")
        path = self.cache / name
        if path.exists():
            return path.read_bytes()
        data = self._download(name)
        write_bytes(path, data)
        return data

    def _download(self, name: str) -> bytes:
        # Not urllib3's Retry: it repeats requests, but not those whose body breaks off.
        problem: Exception | None = None
        for attempt in range(self.tries):
            if attempt:
                time.sleep(self.backoff_s * 2 ** (attempt - 1))
            try:
                data = self._request(name)
                decode_image(data, name)
            except _RefusedError:
                raise
            except (requests.RequestException, PhotoError) as error:
                problem = error
                continue
            self._failures_in_a_row = 0
            return data
        self._failures_in_a_row += 1
        reason = " ".join(str(problem).split())[:200]
        if self._failures_in_a_row >= FAILURES_IN_A_ROW:
            raise HomoregError(
                f"source.url={self.place}: {FAILURES_IN_A_ROW} photos in a row could not be "
                f"downloaded ({reason}); the same command continues from here"
            )
        raise DownloadError(f"{name}: not downloaded in {self.tries} tries ({reason})")

    def _request(self, name: str) -> bytes:
        """The body of one response."""
        # Without compression, so that Content-Length is the size of the file.
        headers = {"Accept-Encoding": "identity"}
        url = f"{self.place}/{quote(name)}"
        response = self._session.get(url, headers=headers, timeout=self.timeout_s)
        status = response.status_code
        if 400 <= status < 500 and status not in TEMPORARY_STATUS:
            raise _RefusedError(f"{name}: HTTP {status} at {self.place}")
        response.raise_for_status()
        size = int(response.headers.get("Content-Length", len(response.content)))
        if len(response.content) != size:
            raise requests.ConnectionError(f"received {len(response.content)} of {size} bytes")
        return response.content

    @property
    def _session(self) -> requests.Session:
        """One per thread, since sessions are not thread-safe."""
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
        return self._local.session


class _RefusedError(PhotoError):
    """A photo that the server does not have or denies."""
