from __future__ import annotations

from materializer.gallery import Gallery, outbox


async def test_numbers_grow_and_are_never_given_out_again(gallery: Gallery) -> None:
    for expected in (1, 2):
        update = await gallery.write(outbox.append, "me", "open", {"n": expected})
        assert update.seq == expected
    await gallery.write(lambda db: db.execute("DELETE FROM outbox"))
    assert (await gallery.write(outbox.append, "me", "open", {})).seq == 3


async def test_a_reader_gets_what_comes_after_in_order_a_page_at_a_time(
    gallery: Gallery,
) -> None:
    for n in range(5):
        await gallery.write(
            outbox.append, "me" if n != 2 else "you", "register", {"n": n}
        )
    page = await gallery.read(outbox.after, "me", 1, 2)
    assert [(update.seq, update.payload["n"]) for update in page] == [(2, 1), (4, 3)]
    assert await gallery.read(outbox.after, None, 0, 9) == []


async def test_a_consumers_cursor_only_goes_forward(gallery: Gallery) -> None:
    assert await gallery.read(outbox.acknowledged, "app", "me") is None
    for _ in range(3):
        await gallery.write(outbox.append, "me", "open", {})
    assert await gallery.write(outbox.acknowledge, "app", "me", 2) == 2
    assert await gallery.write(outbox.acknowledge, "app", "me", 1) == 2
    assert await gallery.read(outbox.acknowledged, "app", "me") == 2


async def test_a_consumer_has_a_cursor_for_each_account(gallery: Gallery) -> None:
    for owner in ("you", "you", "me"):
        await gallery.write(outbox.append, owner, "open", {})
    await gallery.write(outbox.acknowledge, "app", "you", 1)
    assert await gallery.write(outbox.begin, "app", None) == 3
    assert await gallery.read(outbox.acknowledged, "app", "me") is None
    assert await gallery.read(outbox.acknowledged, "app", "you") == 1
    assert await gallery.read(outbox.acknowledged, "app", None) == 3


async def test_an_acknowledgment_counts_for_the_account_that_was_told(
    gallery: Gallery,
) -> None:
    for owner in ("you", "me"):
        await gallery.write(outbox.append, owner, "open", {})
    assert await gallery.write(outbox.acknowledge, "app", "you", 2) == 2
    assert await gallery.read(outbox.acknowledged, "app", "me") == 2
    assert await gallery.read(outbox.acknowledged, "app", "you") is None


async def test_a_consumer_cannot_acknowledge_what_was_never_announced(
    gallery: Gallery,
) -> None:
    await gallery.write(outbox.append, "me", "open", {})
    assert await gallery.write(outbox.acknowledge, "app", "me", 99) == 1


async def test_the_newest_number_is_known(gallery: Gallery) -> None:
    assert await gallery.read(outbox.newest) == 0
    await gallery.write(outbox.append, "me", "open", {})
    assert await gallery.read(outbox.newest) == 1


async def test_what_was_announced_to_an_account_is_known_by_its_payload(
    gallery: Gallery,
) -> None:
    payload = {"jobId": "j", "prompt": "\N{SNOWMAN}"}
    await gallery.write(outbox.append, "me", "open", payload)
    assert await gallery.read(outbox.has, "me", payload)
    assert not await gallery.read(outbox.has, "you", payload)
    assert not await gallery.read(outbox.has, "me", payload | {"prompt": "x"})


async def test_an_announcement_that_was_garbled_holds_nothing_up(
    gallery: Gallery,
) -> None:
    for n in (1, 2):
        await gallery.write(outbox.append, "me", "open", {"n": n})
    await gallery.write(
        lambda db: db.execute("UPDATE outbox SET payload = '{' WHERE seq = 1")
    )
    assert [update.seq for update in await gallery.read(outbox.after, "me", 0, 1)] == [
        2
    ]
