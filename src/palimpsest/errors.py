"""What can go wrong, cut by what the caller can do about it.

    PalimpsestError
    ├── InputError            fix what you gave: a file, a question, a budget
    │   └── SourceError       one document cannot be read; names it
    ├── ConfigurationError    fix how it is set up: a flag, a key, a missing extra
    │   ├── PromptError       a prompt file lacks or misnames a placeholder
    │   └── CapReached        the next call would pass a cap: raise it
    ├── ModelError            the model call failed
    │   ├── EndpointError     nothing answers there, or something else does: fix the URL
    │   ├── AuthError         the key was refused: fix the key
    │   ├── UnknownModelError the server has no such model: fix the name
    │   ├── WindowError       the prompt does not fit the model's window: fix the sizes
    │   ├── RefusedError      the server refused the request itself: read its message
    │   └── TransientError    time-outs, dropped connections, overload: try again
    └── ReadingError          a stored reading is damaged or of another version

A failed turn inside a reading is data (the reading ends `failed` or `partial` with the reason);
the same failure raises here when a caller asked for one thing and it could not be done.
"""

from __future__ import annotations


class PalimpsestError(Exception):
    """Base of every error this package raises on purpose.

    The message says what happened; `hint` says what to do about it.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class InputError(PalimpsestError):
    """What was given cannot be used."""


class SourceError(InputError):
    """A document cannot be read; `name` is the file it came from."""

    def __init__(self, name: str, message: str, *, hint: str = "") -> None:
        super().__init__(f"{name}: {message}", hint=hint)
        self.name = name


class ConfigurationError(PalimpsestError):
    """A setting, key or optional dependency is wrong or missing."""


class PromptError(ConfigurationError):
    """A prompt file is malformed."""


class CapReached(ConfigurationError):
    """The next call would pass a cap, and nothing was read yet from which to answer."""


class ModelError(PalimpsestError):
    """A call to a model failed."""


class EndpointError(ModelError):
    """The URL does not lead to an OpenAI-compatible endpoint."""


class AuthError(ModelError):
    """The endpoint refused the key."""


class UnknownModelError(ModelError):
    """The endpoint does not serve the model."""


class WindowError(ModelError):
    """The prompt and the answer together do not fit the model's window."""


class RefusedError(ModelError):
    """The endpoint refused the request for a reason of its own."""


class TransientError(ModelError):
    """The call failed for a passing reason, after the client's own retries."""


class ReadingError(PalimpsestError):
    """A stored reading cannot be used."""
