"""Texts of the other side, made fit to be shown: one line, no secrets."""

from __future__ import annotations

import re

LENGTH = 200

_URL = re.compile(r"\b(https?|wss?)://(?:[^\s/@]*@)?([^\s/?#\"']+)[^\s\"']*")
_JWT = re.compile(r"[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}", re.ASCII)


def fit(text: str) -> str:
    """Return the text without control characters, tokens and the ends of URLs."""
    text = "".join(c if c.isprintable() else " " for c in text[: 10 * LENGTH])
    text = _JWT.sub("[token]", _URL.sub(r"\1://\2", text))
    return " ".join(text.split())[:LENGTH]
