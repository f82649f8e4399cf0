from __future__ import annotations

import json
import re

import pytest

from materializer.devserver.catalog import CAPABILITIES
from materializer.devserver.orders import read_order
from materializer.manual.pages import KINDS, page

PAGES = ("", *KINDS)


def test_the_kinds_are_those_of_the_hosted_pages() -> None:
    assert KINDS == ("images", "video", "audio", "music", "3d")


@pytest.mark.parametrize("kind", PAGES)
def test_a_page_is_complete_in_itself(kind: str) -> None:
    text = page(kind)
    assert text.startswith("STELLA MEDIA API")
    for word in ("auth_required", "Retry-After", "Idempotency-Key", "stella-media"):
        assert word in text
    assert text.endswith("\n")
    assert max(map(len, text.splitlines())) <= 90


@pytest.mark.parametrize("kind", PAGES)
def test_every_order_on_a_page_is_one_that_is_taken(kind: str) -> None:
    text = re.sub(r"\$\(base64[^)]*\)", "aGk=", page(kind))
    bodies = re.findall(r"(?ms)-d (?:'(.*?)'|@- <<JSON\n(.*?)\nJSON)$", text)
    orders = [read_order((one or other).encode()) for one, other in bodies]
    assert len(orders) == text.count('/generate" \\\n')
    assert orders
    for order in orders:
        assert order.prompt or order.fields


def test_together_they_show_an_order_for_everything() -> None:
    named = re.findall(r'"capability": "(\w+)"', "".join(map(page, KINDS)))
    assert set(named) == set(CAPABILITIES)


def test_what_is_said_of_the_answer_is_json() -> None:
    answer = page().split("The answer is status 202:\n\n")[1].split("\n\n")[0]
    assert json.loads(answer)["subscription"]["query"] == "api.media_jobs.getByJobId"


def test_there_is_no_other_page() -> None:
    with pytest.raises(KeyError):
        page("../common")
