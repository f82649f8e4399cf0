from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from desk import ME, SOON, T0, YOU, Desk
from encoded import picture
from materializer.gallery import ledger
from materializer.ipc.client import Client
from materializer.ipc.jsonlines import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    NOT_FOUND,
    RpcError,
)
from materializer.presence import Presence


async def ask(client: Client, method: str, /, **params: object) -> Any:
    return await client.call(method, params, SOON)


async def refusal(client: Client, method: str, /, **params: object) -> int:
    with pytest.raises(RpcError) as refused:
        await ask(client, method, **params)
    return refused.value.rpc_code


async def test_one_item_is_told_as_in_the_list(desk: Desk, client: Client) -> None:
    await desk.save("j", desk.image("j"), desk.image("j", 1))
    listed = (await ask(client, "gallery.list"))["items"]
    assert [await ask(client, "gallery.get", id=one["id"]) for one in listed] == listed


@pytest.mark.parametrize("method", ["gallery.get", "gallery.remove"])
async def test_what_is_unknown_or_another_s_is_not_found(
    desk: Desk, client: Client, method: str
) -> None:
    await desk.save("mine", desk.image("mine"))
    await desk.save("yours", desk.image("yours"), account=YOU)
    for item_id in ("yours_0", "mine", "mine_00", "mine_1", "_", "0", "mine_0_0"):
        assert await refusal(client, method, id=item_id) == NOT_FOUND
    assert await refusal(client, method) == INVALID_PARAMS
    assert await refusal(client, method, id=5) == INVALID_PARAMS
    desk.presence.account, desk.presence.last_owner = None, None
    assert await refusal(client, method, id="mine_0") == NOT_FOUND


async def test_signed_out_the_last_owner_s_items_are_shown_and_removed(
    desk: Desk, client: Client
) -> None:
    await desk.save("j", desk.image("j"))
    desk.presence.account = None
    assert (await ask(client, "gallery.get", id="j_0"))["id"] == "j_0"
    assert await ask(client, "gallery.remove", id="j_0") == {"removed": True}
    assert await refusal(client, "gallery.get", id="j_0") == NOT_FOUND


@pytest.mark.parametrize("delete", [True, False, None])
async def test_a_removed_item_is_gone_and_that_is_announced(
    desk: Desk, client: Client, delete: bool | None
) -> None:
    files = desk.image("j"), desk.image("j", 1)
    await desk.save("j", *files)
    await ask(client, "display.subscribe", consumer="app")
    await ask(client, "events.subscribe", topics=["gallery"])
    params = {} if delete is None else {"deleteFile": delete}
    removed = await ask(client, "gallery.remove", id="j_0", **params)
    assert removed == {"removed": True}
    heard = {}
    async for sent in client.notifications():
        heard[sent.method] = sent.params
        if len(heard) == 2:
            break
    assert heard["event"]["type"] == "removed"
    assert heard["event"]["data"] == {"id": "j_0"}
    update = heard["display.update"]
    assert (update["action"], update["replay"]) == ("remove", False)
    assert update["payload"] == {
        "kind": "media",
        "asset": {"kind": "image", "filePaths": [files[0].path]},
        "jobId": "j",
        "capability": "text_to_image",
        "prompt": "a picture of j",
        "aspectRatio": "16:9",
        "createdAt": T0,
    }
    listed = await ask(client, "gallery.list")
    assert ([item["id"] for item in listed["items"]], listed["total"]) == (["j_1"], 1)
    assert Path(files[0].path).exists() is not bool(delete)
    assert Path(files[1].path).exists()
    assert await refusal(client, "gallery.remove", id="j_0") == NOT_FOUND


async def test_a_file_that_cannot_be_deleted_is_said_in_words_and_kept(
    desk: Desk, client: Client
) -> None:
    await desk.save("j", desk.image("j"))
    desk.outputs.joinpath(".partial").rmdir()
    with pytest.raises(RpcError, match="outputs directory") as refused:
        await ask(client, "gallery.remove", id="j_0", deleteFile=True)
    assert refused.value.rpc_code == INTERNAL_ERROR
    assert (await ask(client, "gallery.get", id="j_0"))["missing"] is False


async def test_what_lies_in_the_directory_is_entered_on_demand(
    desk: Desk, client: Client
) -> None:
    await desk.gallery.write(ledger.signed_in, ME.owner)
    for name in ("new_0.png", "new_1.png"):
        (desk.outputs / name).write_bytes(picture("PNG"))
    (desk.outputs / "torn_0.png").write_bytes(picture("PNG")[:-9])
    for added in (2, 0):
        told = await ask(client, "gallery.rebuild")
        assert told == {"added": added, "damaged": ["torn_0.png"]}
    listed = (await ask(client, "gallery.list"))["items"]
    assert [item["id"] for item in listed] == ["new_0", "new_1"]


async def test_what_is_entered_for_nobody_is_shown_at_once(
    desk: Desk, client: Client
) -> None:
    presence: Presence = desk.presence
    presence.account, presence.last_owner = None, None
    (desk.outputs / "new_0.png").write_bytes(picture("PNG"))
    await ask(client, "gallery.rebuild")
    assert (await ask(client, "gallery.get", id="new_0"))["jobId"] == "new"
    assert (await ask(client, "hello", client="c", protocol=1))["owner"] is None


async def test_without_the_disk_it_is_said_that_nothing_can_be_rebuilt(
    desk: Desk, client: Client
) -> None:
    desk.outputs.joinpath(".partial").rmdir()
    assert await refusal(client, "gallery.rebuild") == INTERNAL_ERROR
