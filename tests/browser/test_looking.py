"""What can be looked at closely: films and sound play, models turn, all by keys."""

from __future__ import annotations

import pytest
from selenium.webdriver import ActionChains
from selenium.webdriver.common.keys import Keys

from home import IMAGE
from materializer.devserver import media
from materializer.devserver.media import Made
from screen import Screen, data_url

LIGHTBOX = "document.getElementById('lightbox')"
SHOWN = "document.getElementById('shown-title').textContent"
PLAYER = "document.querySelector('.shown video, .shown audio')"


def playing(kind: str) -> dict[str, object]:
    made = media.film("a fox", (64, 64)) if kind == "video" else media.music("a fox")
    return {kind: {"url": data_url(made), "content_type": made.mime_type}}


@pytest.mark.parametrize("kind", ["video", "audio"])
async def test_a_film_and_a_sound_play_and_seek(screen: Screen, kind: str) -> None:
    await screen.deliver("j", playing(kind), prompt="a fox")
    await screen.open()
    await screen.click(".card .open")
    await screen.until(f"{PLAYER}?.readyState >= 2")
    assert await screen.run(f"return {PLAYER}.controls")

    await screen.run(f"return {PLAYER}.play()")
    await screen.until(f"{PLAYER}.currentTime > 0.2")

    await screen.run(
        f"const it = {PLAYER}; it.pause(); window.sought = false;"
        "it.addEventListener('seeked', () => (window.sought = true));"
        "it.currentTime = 1.5"
    )
    await screen.until("window.sought")
    assert await screen.run(f"return {PLAYER}.currentTime") == pytest.approx(1.5)

    await screen.run(f"window.player = {PLAYER}; player.play()")
    await screen.press(Keys.ESCAPE)
    await screen.until(f"!{LIGHTBOX}.open && player.paused")


async def test_a_sound_plays_in_its_card_and_goes_on_when_that_is_out_of_sight(
    screen: Screen,
) -> None:
    for number in range(80):
        screen.succeed(f"j{number}", IMAGE, prompt=f"kite {number}")
    for number in range(80):
        await screen.home.event("job", "done", jobId=f"j{number}")
    await screen.deliver("sound", playing("audio"), prompt="a fox")
    await screen.open()
    await screen.until("document.querySelector('.card audio')?.readyState >= 1")
    await screen.run("window.sound = document.querySelector('.card audio')")
    await screen.press(Keys.TAB)  # no browser plays for somebody who did nothing
    await screen.run("return sound.play()")
    await screen.run("scrollTo(0, document.documentElement.scrollHeight)")
    await screen.until("document.querySelectorAll('.card')[1]?.ariaPosInSet > 20")
    assert await screen.run("return sound.isConnected && !sound.paused")

    await screen.run("sound.pause(); scrollBy(0, -200)")
    await screen.until("!sound.isConnected")


def model(form: str) -> Made:
    made = media.sculpture("a pebble")
    if form == "glb":
        return made
    corners = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\n"
    faces = b"f 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
    return Made(corners + faces, "model/obj", "obj")


@pytest.mark.parametrize("form", ["glb", "obj"])
async def test_a_model_is_drawn_and_turns_with_keys_and_pointer(
    screen: Screen, form: str
) -> None:
    made = model(form)
    mesh = {"url": data_url(made), "file_name": f"model.{form}"}
    await screen.deliver("j", {"model_mesh": mesh}, prompt="a pebble")
    await screen.open()
    await screen.until("document.querySelector('.card canvas.still')")
    painted = await screen.run(
        "const it = document.querySelector('canvas.still');"
        "return [...it.getContext('2d').getImageData(0, 0, 360, 360).data]"
        ".filter((value, place) => place % 4 === 3 && value).length"
    )
    assert 3_000 < painted < 360 * 360, "the card shows no model"

    await screen.click(".card .open")
    canvas = await screen.find(".shown canvas")
    views = [await screen.do(lambda: canvas.screenshot_as_png)]

    async def turned() -> None:
        seen = await screen.do(lambda: canvas.screenshot_as_png)
        assert seen not in views
        views.append(seen)

    await screen.run("arguments[0].focus()", canvas)
    await screen.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    await turned()
    await screen.press("+", "+")
    await turned()
    drag = ActionChains(screen.browser).drag_and_drop_by_offset(canvas, 120, 40)
    await screen.do(drag.perform)
    await turned()
    assert await screen.run(f"return {SHOWN}") == "a pebble", (
        "the keys were the model's"
    )


async def test_a_model_that_nothing_can_show_says_so(screen: Screen) -> None:
    mesh = {
        "url": data_url(Made(b"ply\nformat ascii 1.0\nend_header\n", "x/ply", "ply"))
    }
    await screen.deliver("j", {"model_mesh": mesh}, prompt="a pebble")
    await screen.open()
    await screen.click(".card .open")
    await screen.until(
        "document.querySelector('.shown')?.textContent.includes('cannot')"
    )
    shown = await screen.text(".shown")
    assert shown == "The model cannot be shown: no viewer knows this format."


async def test_the_lightbox_is_walked_with_the_keyboard(screen: Screen) -> None:
    for name in ("one", "two", "three"):
        await screen.deliver(name, IMAGE, prompt=name)
    await screen.open()
    await screen.until_titles("three", "two", "one")
    await screen.click(".card:nth-child(2) .open")
    seen = [await screen.run(f"return {SHOWN}")]
    for key in (
        Keys.ARROW_RIGHT,
        Keys.ARROW_RIGHT,
        Keys.HOME,
        Keys.END,
        Keys.ARROW_LEFT,
    ):
        await screen.press(key)
        seen.append(await screen.run(f"return {SHOWN}"))
    assert seen == ["two", "one", "one", "three", "one", "two"]
    assert await screen.text(".place") == "2 of 3"

    await screen.press(Keys.ARROW_LEFT, Keys.ESCAPE)
    assert not await screen.run(f"return {LIGHTBOX}.open")
    await screen.until_focus("three, ")


async def test_the_whole_page_goes_by_keyboard_and_shows_where_one_is(
    screen: Screen,
) -> None:
    for number in range(30):
        screen.succeed(f"j{number}", IMAGE, prompt=f"kite {number}")
    await screen.deliver("last", IMAGE, prompt="a fox")
    for number in range(30):
        await screen.home.event("job", "done", jobId=f"j{number}")
    await screen.open()
    await screen.until("document.getElementById('count').textContent === '31 outputs'")

    await screen.press("/")
    assert await screen.focus() == "Search prompts and files"
    await screen.press(Keys.TAB)
    assert await screen.run("return document.activeElement.name") == "kind"
    await screen.press(Keys.TAB)
    card = "document.activeElement.closest('.card')"
    places = []
    for key in (
        Keys.END,
        Keys.HOME,
        Keys.ARROW_RIGHT,
        Keys.ARROW_DOWN,
        Keys.ARROW_LEFT,
    ):
        await screen.press(key)
        places.append(int(await screen.run(f"return {card}.ariaPosInSet")))
        style = "getComputedStyle(document.activeElement).outlineStyle"
        assert await screen.run(f"return {style}") == "solid"
        in_sight = "document.activeElement.getBoundingClientRect()"
        assert await screen.run(f"return {in_sight}.bottom <= innerHeight + 1")
        assert await screen.run(f"return {in_sight}.top >= 0")
    columns = places[3] - places[2]
    assert places == [31, 1, 2, 2 + columns, 1 + columns]
    assert columns > 1

    names = []
    for _ in range(3):
        await screen.press(Keys.TAB)
        names.append((await screen.focus()).partition(":")[0])
    assert names == ["Open in folder", "Copy", "Remove"]
    await screen.press(Keys.TAB)
    assert not await screen.run(f"return {card}"), "one card is one stop"
