from __future__ import annotations

from convex_side import jwt
from materializer.convex.words import fit


def test_a_text_becomes_one_printable_line_of_bounded_length() -> None:
    assert fit("a\n\tb\x1b[31m  c") == "a b [31m c"
    assert len(fit("x" * 9999)) == 200


def test_urls_keep_scheme_and_host_only() -> None:
    text = fit("see https://u:p@host.test:1/secret?sig=1 and 'wss://h/x'")
    assert text == "see https://host.test:1 and 'wss://h'"


def test_tokens_are_not_shown() -> None:
    assert fit(f"bad token {jwt()}!") == "bad token [token]!"
