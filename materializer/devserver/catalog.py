"""What can be ordered: one entry a capability, as plain data.

The entries stand in for hosted models: all that were listed on 2026-05-11, those of the
first documentation (`realtime`, the profiles motion, reference and edit), and
`audio_generation`, of which only the name is known. Where an old and a new profile were
each a default in their time, the newer one is it here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Profile:
    """One way to carry out a capability, and the hosted model that it stands for."""

    id: str
    endpoint_id: str
    provider: str = "fal"


@dataclass(frozen=True, slots=True)
class Capability:
    """One kind of job. The first profile is the default.

    Attributes:
        prompt_key: the field that `prompt` is mapped to.
        source_key: the field that `source` and `sourceUrl` are mapped to.
    """

    id: str
    name: str
    category: str
    profiles: tuple[Profile, ...]
    input_hints: tuple[str, ...]
    output_hints: tuple[str, ...]
    prompt_key: str | None = "prompt"
    source_key: str | None = None
    requires_source: bool = False
    aspect_ratio: bool = False

    @property
    def at_once(self) -> bool:
        """Whether the answer to the order waits for the job's end."""
        return self.profiles[0].provider == "google_lyria"

    def profile(self, name: str) -> Profile | None:
        """Return the profile of that name, or the default one for no name."""
        named = [one for one in self.profiles if name in ("", one.id)]
        return named[0] if named else None

    def wire(self) -> dict[str, Any]:
        """Return the entry as `capabilities` lists it."""
        return {
            "id": self.id,
            "name": self.name,
            "category": self.category,
            "promptKey": self.prompt_key,
            "sourceUrlKey": self.source_key,
            "requiresSourceUrl": self.requires_source,
            "supportsAspectRatio": self.aspect_ratio,
            "inputHints": list(self.input_hints),
            "outputHints": list(self.output_hints),
            "profiles": [
                {
                    "id": profile.id,
                    "provider": profile.provider,
                    "endpointId": profile.endpoint_id,
                    "isDefault": profile is self.profiles[0],
                }
                for profile in self.profiles
            ],
        }


@dataclass(frozen=True, slots=True)
class Order:
    """One accepted request.

    Attributes:
        profile: the profile's id.
        fields: what the provider gets, convenience fields mapped.
        summary: the request as the job's row keeps it, bytes left out.
        at_once: whether the answer to the request waits for the job's end.
    """

    capability: Capability
    profile: str
    prompt: str
    aspect_ratio: str
    fields: Mapping[str, Any]
    summary: Mapping[str, Any]
    at_once: bool = False


_SEEDANCE = "bytedance/seedance-2.0/fast/"
_REFERENCE_TO_VIDEO = f"{_SEEDANCE}reference-to-video"
_FILM_HINTS = (
    "prompt",
    "aspectRatio",
    "duration (auto | 4-15 seconds)",
    "resolution (480p | 720p)",
    "generate_audio",
)
_AUDIO = (
    Capability(
        "speech_to_text",
        "Speech To Text",
        "audio",
        (Profile("default", "fal-ai/elevenlabs/speech-to-text/scribe-v2"),),
        ("audio_url",),
        ("text", "segments", "language"),
        prompt_key=None,
        source_key="audio_url",
    ),
    Capability(
        "sound_effects",
        "Sound Effects",
        "audio",
        (Profile("default", "fal-ai/elevenlabs/sound-effects/v2"),),
        ("text", "duration_seconds"),
        ("audio file URL",),
        prompt_key="text",
    ),
    Capability(
        "text_to_dialogue",
        "Text To Dialogue",
        "audio",
        (Profile("default", "fal-ai/elevenlabs/text-to-dialogue/eleven-v3"),),
        ("text", "voice settings"),
        ("audio file URL",),
        prompt_key="text",
    ),
    Capability(
        "audio_generation",
        "Audio Generation",
        "audio",
        (Profile("default", "stella/audio-generation"),),
        ("prompt", "duration_seconds (optional)"),
        ("audio file URL",),
    ),
    Capability(
        "text_to_music",
        "Text To Music",
        "audio",
        (Profile("default", "google/lyria-3-pro-preview", "google_lyria"),),
        (
            "prompt",
            "weightedPrompts",
            "musicGenerationConfig",
            "promptLabel",
            "musicGenerationMode (VOCALIZATION for sung elements)",
        ),
        ("audio file",),
    ),
    Capability(
        "audio_visual_separate",
        "Audio Visual Separate",
        "analysis",
        (Profile("default", "fal-ai/sam-audio/visual-separate"),),
        ("video_url", "audio_url", "separation controls"),
        ("separated stems / tracks",),
        prompt_key=None,
    ),
)
_IMAGES = (
    Capability(
        "text_to_image",
        "Text To Image",
        "image",
        (
            Profile("best", "openai/gpt-image-2"),
            Profile("fast", "fal-ai/flux-2/klein/9b"),
        ),
        (
            "prompt",
            "aspectRatio (mapped to image_size)",
            "quality (low | medium | high)",
            "num_images (1-4)",
            "output_format (png | jpeg | webp)",
        ),
        ("image URLs",),
        aspect_ratio=True,
    ),
    Capability(
        "icon",
        "Icon Generator",
        "image",
        (Profile("default", "fal-ai/flux-2/turbo"),),
        (
            "prompt",
            "transparent / background style",
            "brand / icon constraints",
            "fixed square output",
        ),
        ("image URLs",),
    ),
    Capability(
        "image_edit",
        "Image Edit",
        "image",
        (
            Profile("default", "openai/gpt-image-2/edit"),
            Profile("fast", "openai/gpt-image-2/edit"),
        ),
        (
            "image_urls",
            "prompt",
            "aspectRatio (mapped to image_size; defaults to 'auto')",
            "quality (low | medium | high)",
            "num_images (1-4)",
            "mask_url (optional)",
        ),
        ("edited image URLs",),
        source_key="image_urls",
        requires_source=True,
        aspect_ratio=True,
    ),
    Capability(
        "realtime",
        "Realtime",
        "image",
        (Profile("default", "fal-ai/flux-2/klein/realtime"),),
        ("image_url (optional)", "prompt", "aspectRatio"),
        ("image URLs",),
        source_key="image_url",
        aspect_ratio=True,
    ),
)
_FILMS = (
    Capability(
        "text_to_video",
        "Text To Video",
        "video",
        (Profile("fast", f"{_SEEDANCE}text-to-video"),),
        _FILM_HINTS,
        ("video URL",),
        aspect_ratio=True,
    ),
    Capability(
        "image_to_video",
        "Image To Video",
        "video",
        (
            Profile("fast", f"{_SEEDANCE}image-to-video"),
            Profile("motion", "fal-ai/kling-video/v3/pro/motion-control"),
        ),
        ("image_url", "prompt", "aspectRatio", "duration", "camera / motion controls"),
        ("video URL",),
        source_key="image_url",
        requires_source=True,
        aspect_ratio=True,
    ),
    Capability(
        "video_extend",
        "Video Extend",
        "video",
        (Profile("default", _REFERENCE_TO_VIDEO),),
        ("video_urls", *_FILM_HINTS),
        ("extended video URL",),
        source_key="video_urls",
        requires_source=True,
        aspect_ratio=True,
    ),
    Capability(
        "video_to_video",
        "Video To Video",
        "video",
        (
            Profile("fast", _REFERENCE_TO_VIDEO),
            Profile("reference", "fal-ai/kling-video/o3/pro/video-to-video/reference"),
            Profile("edit", "xai/grok-imagine-video/edit-video"),
        ),
        ("video_urls", *_FILM_HINTS),
        ("video URL",),
        source_key="video_urls",
        requires_source=True,
        aspect_ratio=True,
    ),
)
_MODELS = (
    Capability(
        "text_to_3d",
        "Text To 3D",
        "3d",
        (Profile("default", "fal-ai/hyper3d/rodin/v2"),),
        ("prompt", "optional image references"),
        ("3D asset URLs / mesh files",),
    ),
)
CAPABILITIES = {entry.id: entry for entry in (*_AUDIO, *_IMAGES, *_FILMS, *_MODELS)}
