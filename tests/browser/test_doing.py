"""What a person can do with outputs: find, copy, show in folder, remove, try again."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from home import IMAGE
from materializer.devserver import media
from origin import Origin
from screen import Screen, data_url

MUSIC = {"audio": {"url": data_url(media.music("a fox", 1))}}
SAID = "document.getElementById('seen').textContent"


async def three(screen: Screen) -> None:
    await screen.deliver("kite", IMAGE, prompt="a red kite")
    await screen.deliver("fox", IMAGE, prompt="a red fox")
    await screen.deliver("song", MUSIC, prompt="a song of kites")
    await screen.open()
    await screen.until_titles("a song of kites", "a red fox", "a red kite")


async def test_search_and_kind_narrow_what_is_shown(screen: Screen) -> None:
    await three(screen)
    await screen.press("/", *"kite")
    await screen.until_titles("a song of kites", "a red kite")
    assert await screen.text("#count") == "2 outputs"

    await screen.click("#filters input[value=image]")
    await screen.until_titles("a red kite")
    await screen.press("/", Keys.END, *"surf")
    await screen.until_titles()
    assert await screen.text("#no-match .large") == "Nothing matches"
    await screen.press(*[Keys.BACKSPACE] * 8)
    await screen.until_titles("a red fox", "a red kite")


async def test_what_arrives_is_shown_only_if_it_is_looked_for(screen: Screen) -> None:
    await three(screen)
    await screen.press("/", *"fox")
    await screen.until_titles("a red fox")
    await screen.deliver("boat", IMAGE, prompt="a boat")
    await screen.deliver("blue", IMAGE, prompt="a blue fox")
    await screen.until_titles("a blue fox", "a red fox")
    assert await screen.text("#count") == "2 outputs"


@pytest.mark.parametrize("delete", [False, True], ids=["keep the file", "delete it"])
async def test_what_is_removed_goes_and_the_question_says_what_of_its_file(
    screen: Screen, delete: bool
) -> None:
    await three(screen)
    [item] = (await screen.home.ask("gallery.list", jobId="fox"))["items"]
    await screen.click(".card:nth-child(2) .open")
    await screen.click(".bar [aria-label=Remove]")
    assert await screen.text("#question") == "Remove “a red fox”?"
    assert await screen.text("#outcome") == "The file stays on this computer."
    if delete:
        await screen.click("#question-box input")
        assert (await screen.text("#outcome")).startswith("The file is deleted from")
    await screen.click("#question-box .strong")

    await screen.until_titles("a song of kites", "a red kite")
    assert await screen.text("#shown-title") == "a red kite", "its neighbour takes over"
    assert Path(item["path"]).exists() is not delete
    await screen.do(screen.browser.refresh)
    await screen.until_titles("a song of kites", "a red kite")


async def test_a_person_who_thinks_again_keeps_it(screen: Screen) -> None:
    await three(screen)
    await screen.run("document.querySelector('.image .open').focus()")
    await screen.press(Keys.TAB, Keys.TAB, Keys.TAB, Keys.ENTER)
    await screen.until("document.getElementById('question-box').open")
    await screen.press(Keys.ESCAPE)
    assert (await screen.focus()) == "Remove: a red fox"
    assert await screen.home.gallery() == ["song_0", "fox_0", "kite_0"]


async def test_an_image_is_copied_itself_and_anything_else_as_its_path(
    screen: Screen,
) -> None:
    grant = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    await screen.do(screen.browser.execute_cdp_cmd, "Browser.grantPermissions", grant)
    jpeg = data_url(media.picture("a fox", 0, (32, 16), "jpeg"))
    await screen.deliver("fox", {"images": [{"url": jpeg}]}, prompt="a fox")
    await screen.deliver("song", MUSIC, prompt="a song")
    await screen.open()
    await screen.until_titles("a song", "a fox")

    await screen.click(".card:nth-child(1) [aria-label^=Copy]")
    await screen.until(f"{SAID} === 'Copied the path.'")
    [item] = (await screen.home.ask("gallery.list", jobId="song"))["items"]
    assert await screen.run("return navigator.clipboard.readText()") == item["path"]

    await screen.click(".card:nth-child(2) [aria-label^=Copy]")
    await screen.until(f"{SAID} === 'Copied the image.'")
    copied = await screen.run(
        "const [item] = await navigator.clipboard.read();"
        "const picture = await createImageBitmap(await item.getType('image/png'));"
        "return [item.types, picture.width, picture.height]"
    )
    assert copied == [["image/png"], 32, 16]


async def test_a_file_is_shown_in_its_folder(
    screen: Screen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await three(screen)
    asked, opener = tmp_path / "asked", tmp_path / "xdg-open"
    opener.write_text(f'#!/bin/sh\nprintf %s "$1" >{asked}\n')
    opener.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    await screen.click(".card [aria-label^='Open in folder']")
    await screen.until(f"{SAID} === 'Opened in the file manager.'")
    [item] = (await screen.home.ask("gallery.list", jobId="song"))["items"]
    assert asked.read_text() == str(Path(item["path"]).parent)


async def test_a_job_that_cannot_be_fetched_says_why_and_is_tried_again(
    screen: Screen, source: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("materializer.retry._CALENDAR", (0.01,))
    url = source.serve("/fox", b"", status="500 Oh No")
    await screen.open()
    screen.succeed("fox", {"images": [{"url": url}]}, prompt="a fox")
    await screen.until("document.querySelector('.job.failed .state')")
    words = await screen.text(".job.failed .state")
    assert words.startswith("Failed: ")
    assert (await screen.home.ask("job.get", jobId="fox"))["error"] in words

    source.serve("/fox", media.picture("a fox", 0, (32, 16), "png").data)
    await screen.run("document.querySelector('.job button').focus()")
    assert (await screen.focus()).startswith("Try again: ")
    await screen.press(Keys.ENTER)
    await screen.until_titles("a fox")
    await screen.until("document.getElementById('jobs').hidden")


async def test_a_job_that_failed_where_it_was_made_says_so_and_offers_nothing_vain(
    screen: Screen,
) -> None:
    await screen.open()
    now = screen.submit("fox")
    screen.backend.deployment.fail(now, "fox", "No foxes today.")
    assert await screen.text(".job .state") == "Failed: No foxes today."
    assert (
        await screen.run("return document.querySelectorAll('.job button').length") == 0
    )
    await screen.until("document.getElementById('heard').textContent.includes('foxes')")
