"""Pages of HTML as a test reads them, and as a browser shows them."""

import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path


class Page(HTMLParser):
    """Tags with their attributes, the cells of each table by rows, and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self._in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = self._in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._in_cell:
            self.tables[-1][-1][-1] += data.strip()

    def named(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of each tag of a name."""
        return [attributes for name, attributes in self.tags if name == tag]

    def addresses(self) -> list[str]:
        """All that the page links to or loads."""
        found = [attributes.get(n) for _, attributes in self.tags for n in ("src", "href")]
        return [address for address in found if address is not None]

    def column(self, heading: str) -> list[str]:
        """The cells below a heading of the first table, of its whole rows."""
        head, *rows = self.tables[0]
        return [row[head.index(heading)] for row in rows if len(row) == len(head)]


def browse(
    page: Path, profile: Path, address: str = "", probe: str = "", width: int = 1400
) -> Page:
    """The page as Chromium has it after loading ``page#address``, and after the script ``probe``.

    Args:
        profile: folder of the browser's own files.
        width: of the window, pixels.
    """
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    assert browser, "this test needs Chromium or Chrome on the PATH"
    if probe:
        text = page.read_text("utf-8")
        page = page.with_name("probed.html")
        page.write_text(text.replace("</body>", f"<script>{probe}</script></body>"), "utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    options += [f"--user-data-dir={profile}", "--virtual-time-budget=10000", "--dump-dom"]
    options += [f"--window-size={width},900"]
    found = subprocess.run(
        [browser, *options, f"{page.as_uri()}#{address}"], capture_output=True, timeout=60
    )
    return Page(found.stdout.decode())
