from __future__ import annotations

import base64
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from materializer.fetch.headers import (
    Body,
    announced,
    content_range,
    length,
    retry_after,
)

DIGEST = bytes(range(32))
WRITTEN = base64.b64encode(DIGEST).decode()
NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("digest", f"sha-256={WRITTEN}"),
        ("digest", f"SHA-256={WRITTEN}"),
        ("digest", f"md5=abc=, sha-256={WRITTEN}"),
        ("repr-digest", f"sha-256=:{WRITTEN}:"),
        ("repr-digest", f"sha-512=:AAAA:, sha-256=:{WRITTEN}:"),
        ("x-amz-checksum-sha256", WRITTEN),
    ],
)
def test_a_digest_is_read_from_every_header_that_tells_it(
    header: str, value: str
) -> None:
    assert announced({header: value}, total=1).sha256 == DIGEST.hex()


@pytest.mark.parametrize(
    "value",
    ["", "sha-256", "sha-256=", "sha-256=!", "sha-256=AAAA", f"sha-512={WRITTEN}"],
)
def test_a_digest_that_cannot_be_read_says_nothing(value: str) -> None:
    assert announced({"digest": value, "repr-digest": value}, total=1).sha256 is None


@pytest.mark.parametrize(
    ("tag", "read"),
    [
        ('"a"', '"a"'),
        ('""', '""'),
        ('W/"a"', None),
        ("a", None),
        ('"a"b"', None),
        ('"\n"', None),
        ('"' + "a" * 300 + '"', None),
    ],
)
def test_only_a_strong_tag_counts(tag: str, read: str | None) -> None:
    assert announced({"etag": tag}, total=1).etag == read


@pytest.mark.parametrize(("age", "counts"), [(60, True), (59, False), (-5, False)])
def test_a_date_counts_when_it_was_a_minute_old(age: int, counts: bool) -> None:
    date = "Fri, 20 Nov 2026 09:00:00 GMT"
    stamp = datetime.fromtimestamp(NOW.timestamp() - age, UTC)
    modified = format_datetime(stamp, usegmt=True)
    body = announced({"last-modified": modified, "date": date}, total=1)
    assert body.modified == (modified if counts else None)
    assert announced({"last-modified": modified}, total=1).modified is None


@pytest.mark.parametrize(
    ("body", "resumable", "validator"),
    [
        (Body(), False, None),
        (Body(5), False, None),
        (Body(None, "ab", '"t"', "d"), False, '"t"'),
        (Body(5, "ab"), True, None),
        (Body(5, None, '"t"', "d"), True, '"t"'),
        (Body(5, None, None, "d"), True, "d"),
    ],
)
def test_a_part_needs_a_length_and_something_to_tell_it_by(
    body: Body, resumable: bool, validator: str | None
) -> None:
    assert (body.resumable, body.validator) == (resumable, validator)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("5", 5),
        ("0", 0),
        ("-5", None),
        ("5, 5", None),
        ("\u0665", None),
        ("9" * 20, None),
    ],
)
def test_a_length_is_a_plain_number(text: str, read: int | None) -> None:
    assert length({"content-length": text}) == read
    assert length({}) is None


@pytest.mark.parametrize(
    ("text", "said", "read"),
    [
        ("bytes 5-9/10", None, (5, 10)),
        ("bytes 5-9/10", "5", (5, 10)),
        ("bytes 0-9/10", None, (0, 10)),
        ("bytes 5-9/10", "6", None),
        ("bytes 5-8/10", None, None),
        ("bytes 5-10/10", None, None),
        ("bytes 5-9/*", None, None),
        ("bytes */10", None, None),
        ("bytes 9-5/10", None, None),
        ("bytes -5-9/10", None, None),
        ("bytes=5-9/10", None, None),
        ("bytes 5-9/10 ", None, None),
        ("Bytes 5-9/10", None, None),
        ("", None, None),
    ],
)
def test_a_range_is_read_strictly(
    text: str, said: str | None, read: tuple[int, int] | None
) -> None:
    headers = {"content-range": text}
    if said is not None:
        headers["content-length"] = said
    assert content_range(headers) == read


@given(st.text() | st.from_regex(r"bytes \d{0,25}-\d{0,25}/(\d{0,25}|\*)"))
def test_whatever_a_range_says_it_lies_within_the_whole(text: str) -> None:
    found = content_range({"content-range": text})
    if found is not None:
        start, total = found
        assert 0 <= start < total


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("Fri, 20 Nov 2026 09:00:30 GMT", 30.0),
        ("Fri, 20 Nov 2026 08:00:00 GMT", 0.0),
        ("-7", None),
        ("soon", None),
        ("", None),
        ("Fri, 20 Nov 99999 09:00:00 GMT", None),
    ],
)
def test_how_long_to_wait_is_told_in_seconds_or_as_a_date(
    text: str, seconds: float | None
) -> None:
    assert retry_after({"retry-after": text}, NOW) == seconds


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "digest",
                "repr-digest",
                "x-amz-checksum-sha256",
                "etag",
                "last-modified",
                "date",
                "content-length",
                "content-range",
                "retry-after",
            ]
        ),
        st.text(),
    )
)
def test_no_header_is_too_strange(headers: dict[str, str]) -> None:
    body = announced(headers, total=length(headers))
    assert body.sha256 is None or len(body.sha256) == 64
    wait = retry_after(headers, NOW)
    assert wait is None or wait >= 0
