from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from materializer.ipc import document, jsonlines
from materializer.ipc.contract import PARAMS

PAGE = (document.SERVICE / "IPC.md").read_text("utf-8")
LINES = re.findall(r"^(?:[→←] )?(\{.*\})$", PAGE, re.MULTILINE)


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = document.schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_both_documents_are_as_the_program_would_write_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When this fails, run: python -m materializer.ipc.document."""
    names = "IPC.md", "ipc.schema.json"
    kept = [(document.SERVICE / name).read_text("utf-8") for name in names]
    shutil.copy(document.SERVICE / "IPC.md", tmp_path)
    monkeypatch.setattr(document, "SERVICE", tmp_path)
    document.main()
    assert [(tmp_path / name).read_text("utf-8") for name in names] == kept


def test_writing_again_replaces_what_was_written_and_keeps_the_prose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "IPC.md"
    page.write_text(f"# Prose\n\n{document.MARK}stale", "utf-8")
    monkeypatch.setattr(document, "SERVICE", tmp_path)
    document.main()
    first = page.read_text("utf-8")
    document.main()
    assert page.read_text("utf-8") == first
    assert first.startswith("# Prose\n")
    assert "stale" not in first


def test_every_line_in_the_page_fits_the_schema(
    validator: Draft202012Validator,
) -> None:
    lines = [json.loads(line) for line in LINES if '"transport"' not in line]
    assert len(lines) > len(PARAMS)
    for line in lines:
        validator.validate(line)


def test_the_page_tells_of_every_method_and_every_error() -> None:
    for method in PARAMS:
        assert f"### `{method}`\n" in PAGE
    codes = {value for value in vars(jsonlines).values() if _is_code(value)}
    assert len(codes) == 9
    for code in codes:
        assert f"| {code} |" in PAGE


def _is_code(value: object) -> bool:
    return isinstance(value, int) and value <= -32000


@pytest.mark.parametrize(
    "line",
    [
        {},
        {"id": 1, "method": "unknown", "params": {}},
        {"id": 1, "method": "job.get"},
        {"id": 1, "method": "job.get", "params": {"jobId": 5}},
        {"id": [], "method": "daemon.status"},
        {"id": 1, "method": "gallery.list", "params": {"limit": 501}},
        {"jsonrpc": "2.0", "id": 1},
        {"jsonrpc": "2.0", "id": 1, "error": {"code": "x", "message": "y"}},
        {"jsonrpc": "2.0", "method": "event", "params": {"topic": "job"}},
        {"jsonrpc": "2.0", "method": "display.update", "params": {"seq": 1}},
    ],
    ids=str,
)
def test_what_is_no_line_of_ours_does_not_fit(
    validator: Draft202012Validator, line: dict[str, Any]
) -> None:
    assert not validator.is_valid(line)


def test_what_may_be_left_out_is_never_null_and_the_other_way_round() -> None:
    defs = document.schema()["$defs"]
    item, job = defs["GalleryItem"], defs["Job"]
    assert item["properties"]["prompt"] == {"type": "string"}
    assert "prompt" not in item["required"]
    assert {"type": "null"} in job["properties"]["error"]["anyOf"]
    assert "error" in job["required"]


def test_a_type_is_written_as_a_reader_expects() -> None:
    for written in (
        "`{limit?: integer 1..500 = 50, cursor?: string, kind?: ",
        "`{items: GalleryItem[], nextCursor: string | null, total: integer}`",
        '`{topics?: ("job" | "download" | ',
        "| `prompt?` | `string` |",
    ):
        assert written in PAGE
