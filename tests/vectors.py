"""What the hosted gateway's own functions answered when they were run: one record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_FILE = Path(__file__).with_name("data") / "gateway.json"
VECTORS: dict[str, list[dict[str, Any]]] = json.loads(_FILE.read_text("utf-8"))
