"""Which verl this package works with. Looks at what is installed and imports none of it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from palimpsest.errors import ConfigurationError

SUPPORTED = ">=0.9.1,<0.10"
"""Its trainer changes from one minor version to the next, and ours is built on this one."""
INSTALL = 'pip install "palimpsest-memory[verl]"'


def check_version() -> str:
    """The version that is installed. Raises `ConfigurationError` for none, or one that does not
    fit."""
    try:
        found = version("verl")
    except PackageNotFoundError as error:
        raise ConfigurationError("verl is not installed", hint=INSTALL) from error
    from packaging.specifiers import SpecifierSet

    if not SpecifierSet(SUPPORTED).contains(found, prereleases=True):
        raise ConfigurationError(
            f"verl {found} is installed, and this package works with verl {SUPPORTED}",
            hint=f"install one that fits: {INSTALL}",
        )
    return found
