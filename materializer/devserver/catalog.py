"""What can be ordered: one entry a capability, with the maker of its output.

Makers block, so they are called in a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from materializer.devserver import media

_SIZES = {
    "4:3": (1024, 768),
    "3:4": (768, 1024),
    "3:2": (1152, 768),
    "2:3": (768, 1152),
    "16:9": (1280, 720),
    "9:16": (720, 1280),
    "21:9": (1344, 576),
}
_SQUARE = (1024, 1024)
_MAX_EDGE = 3840
IMAGE_FORMATS = ("png", "jpeg", "webp")


@dataclass(frozen=True, slots=True)
class Order:
    """One accepted request.

    Attributes:
        fields: what the provider gets, convenience fields mapped.
        summary: the request as the job's row keeps it, bytes left out.
    """

    capability: Capability
    profile: str
    prompt: str
    aspect_ratio: str
    fields: Mapping[str, Any]
    summary: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Capability:
    """One kind of job. The first profile is the default.

    `make` returns the job's output with a `media.Made` wherever a URL belongs.
    """

    id: str
    category: str
    profiles: tuple[str, ...]
    make: Callable[[Order], dict[str, Any]]
    outputs: tuple[str, ...]
    prompt_key: str | None = "prompt"
    source_key: str | None = None
    aspect_ratio: bool = False

    def wire(self) -> dict[str, Any]:
        """Return the entry as `capabilities` lists it."""
        return {
            "id": self.id,
            "category": self.category,
            "promptKey": self.prompt_key,
            "sourceUrlKey": self.source_key,
            "requiresSourceUrl": self.source_key is not None,
            "supportsAspectRatio": self.aspect_ratio,
            "outputHints": self.outputs,
            "profiles": [
                {"id": profile, "isDefault": profile == self.profiles[0]}
                for profile in self.profiles
            ],
        }


def _images(order: Order) -> dict[str, Any]:
    width, height = size = _image_size(order)
    form = order.fields.get("output_format", "png")
    count = order.fields.get("num_images", 1)
    pictures = [media.picture(order.prompt, i, size, form) for i in range(count)]
    extra = {"width": width, "height": height}
    return {"images": [_file(made) | extra for made in pictures]}


def _video(order: Order) -> dict[str, Any]:
    width, height = _SIZES.get(order.aspect_ratio, _SQUARE)
    return {"video": _file(media.film(order.prompt, (width // 2, height // 2)))}


def _dialogue(order: Order) -> dict[str, Any]:
    return {"audio": _file(media.speech(order.fields["text"]))}


def _music(order: Order) -> dict[str, Any]:
    # Music comes from Convex storage, whose links have no extension.
    made = replace(media.music(order.prompt), extension="")
    label = order.fields.get("promptLabel")
    audio = {"url": made, "mimeType": made.mime_type}
    return {"audio": audio, "promptLabel": label, "textParts": []}


def _model(order: Order) -> dict[str, Any]:
    made = media.sculpture(order.prompt)
    name = {"file_name": "model.glb", "file_size": len(made.data)}
    return {"model_mesh": _file(made) | name}


def _transcript(order: Order) -> dict[str, Any]:
    return media.transcript(order.prompt or "The embedded backend heard this.")


CAPABILITIES = {
    entry.id: entry
    for entry in (
        Capability(
            "text_to_image",
            "image",
            ("best", "fast"),
            _images,
            ("image URLs",),
            aspect_ratio=True,
        ),
        Capability(
            "image_to_video",
            "video",
            ("fast", "motion"),
            _video,
            ("video URL",),
            source_key="image_url",
            aspect_ratio=True,
        ),
        Capability(
            "text_to_dialogue",
            "audio",
            ("default",),
            _dialogue,
            ("audio file URL",),
            prompt_key="text",
        ),
        Capability(
            "speech_to_text",
            "audio",
            ("default",),
            _transcript,
            ("text", "segments", "language"),
            prompt_key=None,
            source_key="audio_url",
        ),
        Capability("text_to_music", "audio", ("default",), _music, ("audio file",)),
        Capability("text_to_3d", "3d", ("default",), _model, ("3D asset URLs",)),
    )
}


def _image_size(order: Order) -> tuple[int, int]:
    match order.fields.get("image_size"):
        case {"width": int(width), "height": int(height)} if (
            min(width, height) >= 16 and max(width, height) <= _MAX_EDGE
        ):
            return width, height
    return _SIZES.get(order.aspect_ratio, _SQUARE)


def _file(made: media.Made) -> dict[str, Any]:
    return {"url": made, "content_type": made.mime_type}
