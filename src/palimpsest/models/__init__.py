"""Models: one seam, and everything that talks to a language model through it."""

from __future__ import annotations

from palimpsest.models.local import LocalModel
from palimpsest.models.meter import MeteredModel, Totals
from palimpsest.models.model import (
    Completion,
    FinishReason,
    ImagePart,
    ImageURL,
    Message,
    Model,
    Sampling,
    TextPart,
    Usage,
    request_key,
    user,
)
from palimpsest.models.openai import OpenAIModel
from palimpsest.models.recorded import RecordedModel
from palimpsest.models.scripted import Call, ScriptedModel
from palimpsest.models.sight import Eyes, RapidEyes, SightModel

__all__ = [
    "Call",
    "Completion",
    "Eyes",
    "FinishReason",
    "ImagePart",
    "ImageURL",
    "LocalModel",
    "Message",
    "MeteredModel",
    "Model",
    "OpenAIModel",
    "RapidEyes",
    "RecordedModel",
    "Sampling",
    "ScriptedModel",
    "SightModel",
    "TextPart",
    "Totals",
    "Usage",
    "request_key",
    "user",
]
