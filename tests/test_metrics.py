"""The registry of metrics is what the documents say."""

from pathlib import Path

from homoreg.metrics import markdown_table

DOCUMENT = Path(__file__).parents[1] / "docs" / "evaluation.md"


def test_the_document_has_the_table_of_the_registry() -> None:
    table = markdown_table()
    assert table in DOCUMENT.read_text(encoding="utf-8"), f"paste into {DOCUMENT.name}:\n{table}"
