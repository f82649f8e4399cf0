"""What a Display sidebar takes for media, and what it calls that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"
PAYLOADS: list[dict[str, Any]] = json.loads(
    (DATA / "display_payloads.json").read_text()
)
TITLES: list[dict[str, Any]] = json.loads((DATA / "display_titles.json").read_text())

_NAMES = {
    "image": "Generated image",
    "video": "Generated video",
    "audio": "Generated audio",
    "model3d": "Generated 3D model",
    "text": "Generated text",
}


def is_accepted(payload: Any) -> bool:
    """Whether the sidebar shows it."""
    if not isinstance(payload, dict) or payload.get("kind") != "media":
        return False
    created_at = payload.get("createdAt")
    if isinstance(created_at, bool) or not isinstance(created_at, int | float):
        return False
    match payload.get("asset"):
        case {"kind": "image", "filePaths": [*paths]}:
            return all(isinstance(path, str) for path in paths)
        case {"kind": "video" | "audio" | "model3d" | "download", "filePath": str()}:
            return True
        case {"kind": "text", "text": str()}:
            return True
        case _:
            return False


def title(payload: dict[str, Any]) -> str:
    """What is written above it."""
    asset = payload["asset"]
    if payload.get("prompt"):
        return str(payload["prompt"])
    if payload.get("capability"):
        return str(payload["capability"]).replace("_", " ")
    if asset.get("label"):
        return str(asset["label"])
    several = len(asset.get("filePaths", [])) > 1
    return _NAMES[asset["kind"]] + ("s" if several else "")
