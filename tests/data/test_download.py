"""Downloads from a local server that fails in the ways of real ones."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from skimage.data import chelsea

from homoreg.data.download import FAILURES_IN_A_ROW, Download, DownloadError
from homoreg.data.images import PhotoError, encode_jpeg
from homoreg.data.manifest import PairManifest
from homoreg.data.pairs import prepare_pairs
from homoreg.data.sources import CocoSource
from homoreg.data.warp import Warp
from homoreg.errors import HomoregError

JPEG = encode_jpeg(chelsea(), 90)
STALL_S = 3.0  # of a response that does not go on
PATIENCE_S = 1.0  # long enough for a machine that is busy with other tests


class Server:
    """Serves one JPEG under any name; the name's first word says what goes wrong."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.open = 0
        self.most_open = 0
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/train2014"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        name = request.path.rsplit("/", 1)[-1]
        with self.lock:
            self.asked[name] += 1
            first = self.asked[name] == 1
            self.open += 1
            self.most_open = max(self.most_open, self.open)
        try:
            getattr(self, name.split("-")[0])(request, first)
        finally:
            with self.lock:
                self.open -= 1

    def send(
        self,
        request: BaseHTTPRequestHandler,
        body: bytes,
        *,
        upto: int | None = None,
        announce: bool = True,
    ) -> None:
        request.send_response(200)
        if announce:
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body[:upto])

    def good(self, request: BaseHTTPRequestHandler, first: bool) -> None:
        self.send(request, JPEG)

    def slow(self, request: BaseHTTPRequestHandler, first: bool) -> None:
        time.sleep(0.1)
        self.send(request, JPEG)

    def missing(self, request: BaseHTTPRequestHandler, first: bool) -> None:
        request.send_error(404)

    def forbidden(self, request: BaseHTTPRequestHandler, first: bool) -> None:
        request.send_error(403)

    def busy(self, request: BaseHTTPRequestHandler, first: bool) -> None:
        if first:
            request.send_error(503)
        else:
            self.send(request, JPEG)

    def dropped(self, request: BaseHTTPRequestHandler, first: bool) -> None:
        """The first response breaks off in the middle."""
        self.send(request, JPEG, upto=len(JPEG) // 2 if first else None)

    def unannounced(self, request: BaseHTTPRequestHandler, first: bool) -> None:
        """Without a size, only the JPEG itself shows that half of it is missing."""
        self.send(request, JPEG, upto=len(JPEG) // 2 if first else None, announce=False)

    def stalled(self, request: BaseHTTPRequestHandler, first: bool) -> None:
        if first:
            request.send_response(200)
            request.send_header("Content-Length", str(len(JPEG)))
            request.end_headers()
            request.wfile.write(JPEG[:1000])
            request.wfile.flush()
            time.sleep(STALL_S)
        else:
            self.send(request, JPEG)

    def truncated(self, request: BaseHTTPRequestHandler, first: bool) -> None:
        """Always announces more than it sends."""
        self.send(request, JPEG, upto=len(JPEG) // 2)

    def cut(self, request: BaseHTTPRequestHandler, first: bool) -> None:
        """The file on the server is itself half a JPEG."""
        self.send(request, JPEG[: len(JPEG) // 2])

    def page(self, request: BaseHTTPRequestHandler, first: bool) -> None:
        self.send(request, b"<html>Please sign in</html>")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server()
    thread = threading.Thread(target=server.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.server.shutdown()
    server.server.server_close()


def download(server: Server, cache: Path, **options: float) -> Download:
    quick = {"tries": 3, "timeout_s": 10.0, "backoff_s": 0.01} | options
    return Download(server.url, cache, **quick)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "requests"),
    [
        ("good", 1),
        ("busy", 2),
        ("dropped", 2),
        ("unannounced", 2),
        ("stalled", 2),
    ],
)
def test_the_whole_photo_arrives(server: Server, tmp_path: Path, kind: str, requests: int) -> None:
    name = f"{kind}-1.jpg"
    options = {"timeout_s": PATIENCE_S} if kind == "stalled" else {}
    assert download(server, tmp_path / "cache", **options).read(name) == JPEG
    assert server.asked[name] == requests
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [name]
    # It is not requested again.
    assert download(server, tmp_path / "cache").read(name) == JPEG
    assert server.asked[name] == requests


@pytest.mark.parametrize(
    ("kind", "requests", "line"),
    [
        ("truncated", 3, "not downloaded in 3 tries"),
        ("cut", 3, "not downloaded in 3 tries .*damaged image"),
        ("page", 3, "not downloaded in 3 tries .*not an image"),
    ],
)
def test_a_photo_that_never_comes_whole(
    server: Server, tmp_path: Path, kind: str, requests: int, line: str
) -> None:
    with pytest.raises(DownloadError, match=line) as caught:
        download(server, tmp_path).read(f"{kind}-1.jpg")
    assert "\n" not in str(caught.value)
    assert server.asked[f"{kind}-1.jpg"] == requests
    assert not (tmp_path / f"{kind}-1.jpg").exists()


@pytest.mark.parametrize(("kind", "status"), [("missing", 404), ("forbidden", 403)])
def test_what_the_server_refuses_is_asked_for_once(
    server: Server, tmp_path: Path, kind: str, status: int
) -> None:
    with pytest.raises(PhotoError, match=f"HTTP {status}") as caught:
        download(server, tmp_path).read(f"{kind}-1.jpg")
    assert not isinstance(caught.value, DownloadError)
    assert server.asked[f"{kind}-1.jpg"] == 1


def test_photos_come_in_parallel(server: Server, tmp_path: Path) -> None:
    store = download(server, tmp_path, connections=8)
    names = [f"slow-{i}.jpg" for i in range(16)]
    with ThreadPoolExecutor(store.threads) as pool:
        assert all(data == JPEG for data in pool.map(store.read, names))
    assert server.most_open > 1
    assert max(server.asked.values()) == 1


def test_a_server_that_is_down_ends_the_run(tmp_path: Path) -> None:
    store = Download("http://127.0.0.1:9", tmp_path, tries=1, timeout_s=0.3)
    for number in range(FAILURES_IN_A_ROW - 1):
        with pytest.raises(DownloadError):
            store.read(f"{number}.jpg")
    with pytest.raises(HomoregError, match="photos in a row") as caught:
        store.read("last.jpg")
    assert not isinstance(caught.value, PhotoError)


@pytest.mark.parametrize("name", ["../x.jpg", "a/../../x.jpg", "/etc/x.jpg", "a b.jpg", "x.jpg?y"])
def test_a_name_that_leads_elsewhere(server: Server, tmp_path: Path, name: str) -> None:
    with pytest.raises(PhotoError, match="not a name that can be requested"):
        download(server, tmp_path / "cache").read(name)
    assert not server.asked


@pytest.mark.parametrize("url", ["images.cocodataset.org", "ftp://host/x", "", "http://"])
def test_an_address_that_is_none(url: str, tmp_path: Path) -> None:
    with pytest.raises(HomoregError, match=r"^source\.url="):
        Download(url, tmp_path)


def test_prepare_over_http(server: Server, tmp_path: Path) -> None:
    """What fails is listed, and only failed downloads are tried again."""
    good = [f"{kind}-{i}.jpg" for kind in ("good", "dropped", "busy", "stalled") for i in range(2)]
    (tmp_path / "train.txt").write_text("\n".join([*good, "missing-1.jpg", "truncated-1.jpg"]))
    (tmp_path / "eval.txt").write_text("good-9.jpg\n")
    source = CocoSource(
        url=server.url,
        cache=str(tmp_path / "cache"),
        tries=2,
        timeout_s=PATIENCE_S,
        train_list=str(tmp_path / "train.txt"),
        eval_list=str(tmp_path / "eval.txt"),
    )
    root = tmp_path / "data"
    prepare_pairs(source, Warp(), root, 42)
    pairs = PairManifest.load(root / "pairs_train.json").pairs
    assert [pair.photo for pair in pairs] == good
    assert all(pair.img1.read_bytes() == JPEG for pair in pairs)
    skipped = json.loads((root / "skipped.json").read_text())
    assert [(s["photo"], s["retry"]) for s in skipped] == [
        ("missing-1.jpg", False),
        ("truncated-1.jpg", True),
    ]
    server.asked.clear()
    prepare_pairs(source, Warp(), root, 42)
    assert set(server.asked) == {"missing-1.jpg", "truncated-1.jpg"}
    assert [pair.photo for pair in PairManifest.load(root / "pairs_train.json").pairs] == good
