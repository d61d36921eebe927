"""What verl imports when it starts, by the entry point `verl.plugins`: registers our parts.

verl says nothing of a plugin that fails, and goes on without it until it does not find a name; so
what goes wrong here is told here.
"""

from __future__ import annotations

import sys

from palimpsest.errors import PalimpsestError
from palimpsest.training.verl.version import check_version


def register() -> None:
    """Makes verl know our loop and our trainer. Raises `ConfigurationError` for a verl that does
    not fit."""
    check_version()
    import palimpsest.training.verl.loop
    import palimpsest.training.verl.trainer  # noqa: F401
    from palimpsest.training.verl.mending import mend

    mend()


try:
    register()
except Exception as error:
    hint = f"\n  {error.hint}" if isinstance(error, PalimpsestError) and error.hint else ""
    told = f"palimpsest is not registered with verl: {type(error).__name__}: {error}{hint}"
    print(told, file=sys.stderr, flush=True)
    raise
