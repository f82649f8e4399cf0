"""The fields that the provider gets: `input`, and the convenience fields beside it.

What `input` says is never overridden. The sizes of pictures are those that the hosted
gateway gives its own model for pictures, which knows no aspect ratios.
"""

from __future__ import annotations

from typing import Any

from materializer.devserver.asked import Asked, as_url
from materializer.devserver.catalog import Capability, Profile

_SIZES = {
    "1:1": (1024, 1024),
    "4:3": (1024, 768),
    "3:4": (768, 1024),
    "3:2": (1152, 768),
    "2:3": (768, 1152),
    "16:9": (1280, 720),
    "9:16": (720, 1280),
    "21:9": (1344, 576),
}
_ICON = {"width": 512, "height": 512}
_SLOTS = {
    "image": "image_url",
    "video": "video_url",
    "audio": "audio_url",
    "reference_image": "reference_image_url",
    "reference_video": "reference_video_url",
    "mask_image": "mask_image_url",
}
_MUSIC = {
    "bpm": 95,
    "density": 0.5,
    "brightness": 0.5,
    "guidance": 4,
    "temperature": 1,
}


def mapped(capability: Capability, profile: Profile, asked: Asked) -> dict[str, Any]:
    """Return the fields of a request to this profile."""
    fields = dict(asked.input)
    if capability.id == "icon":
        fields["image_size"] = _ICON
    if capability.id in ("text_to_image", "image_edit"):
        fields.setdefault("quality", "low")
    if capability.prompt_key and asked.prompt:
        fields.setdefault(capability.prompt_key, asked.prompt)
    if capability.id == "text_to_music":
        _map_music(fields, asked.prompt)
    if capability.aspect_ratio and asked.aspect_ratio:
        fields.setdefault("aspect_ratio", asked.aspect_ratio)
    _map_sources(fields, capability, asked)
    if profile.endpoint_id.startswith("openai/gpt-image-2"):
        _map_size(fields, capability, profile)
    return fields


def _map_music(fields: dict[str, Any], prompt: str) -> None:
    if prompt and not isinstance(fields.get("weightedPrompts"), list):
        fields["weightedPrompts"] = [{"text": prompt, "weight": 1}]
    if not isinstance(fields.get("musicGenerationConfig"), dict):
        fields["musicGenerationConfig"] = dict(_MUSIC)


def _map_sources(fields: dict[str, Any], capability: Capability, asked: Asked) -> None:
    key, source = capability.source_key, asked.main_source
    if key and source:
        fields.setdefault(key, [source] if key.endswith("_urls") else source)
    for name, given in asked.sources.items():
        fields.setdefault(_SLOTS.get(name, name), as_url(given))
    if key == "video_urls":
        # The model behind it takes any number of references of each kind.
        for slot in ("image_url", "video_url", "audio_url"):
            if slot in fields and f"{slot}s" not in fields:
                fields[f"{slot}s"] = [fields.pop(slot)]


def _map_size(fields: dict[str, Any], capability: Capability, profile: Profile) -> None:
    if (capability.id, profile.id) == ("image_edit", "fast"):
        fields["image_size"] = "auto"
    ratio = fields.get("aspect_ratio")
    if isinstance(ratio, str):
        del fields["aspect_ratio"]
        if size := _SIZES.get(ratio.strip()):
            width, height = size
            fields.setdefault("image_size", {"width": width, "height": height})
    if capability.id == "text_to_image":
        fields.setdefault("image_size", "auto")
