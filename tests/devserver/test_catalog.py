from __future__ import annotations

from typing import Any

import pytest

from materializer.devserver.catalog import CAPABILITIES
from vectors import VECTORS

# What the hosted catalog of 2026-05-11 did not list any more, or not yet.
OLD_PROFILES = {
    "image_to_video": ["motion"],
    "video_to_video": ["reference", "edit"],
}


@pytest.mark.parametrize(
    "listed", VECTORS["catalog_2026_05_11"], ids=lambda entry: entry["id"]
)
def test_an_entry_is_listed_as_the_hosted_catalog_had_it(
    listed: dict[str, Any],
) -> None:
    entry = CAPABILITIES[listed["id"]].wire()
    old = OLD_PROFILES.get(listed["id"], [])
    newer = [one for one in entry["profiles"] if one["id"] not in old]
    assert entry | {"profiles": newer} == listed | {"name": entry["name"]}
    assert [one["id"] for one in entry["profiles"] if one["id"] in old] == old


def test_everything_is_there_that_was_ever_documented() -> None:
    assert {
        name: [profile.id for profile in entry.profiles]
        for name, entry in CAPABILITIES.items()
    } == {
        "speech_to_text": ["default"],
        "sound_effects": ["default"],
        "text_to_dialogue": ["default"],
        "audio_generation": ["default"],
        "text_to_music": ["default"],
        "audio_visual_separate": ["default"],
        "text_to_image": ["best", "fast"],
        "icon": ["default"],
        "image_edit": ["default", "fast"],
        "realtime": ["default"],
        "text_to_video": ["fast"],
        "image_to_video": ["fast", "motion"],
        "video_extend": ["default"],
        "video_to_video": ["fast", "reference", "edit"],
        "text_to_3d": ["default"],
    }


def test_no_name_is_the_first_profile_and_a_wrong_name_is_none() -> None:
    entry = CAPABILITIES["image_to_video"]
    assert entry.profile("") is entry.profiles[0]
    assert entry.profile("motion") is entry.profiles[1]
    assert entry.profile("best") is None


def test_only_music_is_made_while_the_caller_waits() -> None:
    at_once = [name for name, entry in CAPABILITIES.items() if entry.at_once]
    assert at_once == ["text_to_music"]
