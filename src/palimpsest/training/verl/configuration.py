"""verl's whole configuration for a recipe: its own defaults with `mapping.settings` over them.

    config = compose(recipe, Path("runs/memagent"))
    write(config, Path("runs/memagent/verl.yaml"))

A key that the installed verl does not know is an error that names it, so that none gets lost when
verl changes. Needs verl to be installed, but does not import it.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palimpsest.errors import ConfigurationError
from palimpsest.training.recipe import Recipe
from palimpsest.training.verl.carried import packed
from palimpsest.training.verl.mapping import PLUGIN, Setting, settings
from palimpsest.training.verl.unheld import refuse
from palimpsest.training.verl.version import check_version
from palimpsest.training.verl.written import log_file

if TYPE_CHECKING:
    from omegaconf import DictConfig

VERL_FILE = "verl.yaml"
"""The configuration of a run, in its folder."""

_DEFAULTS = "trainer/config"
_MODULES = "VERL_USE_EXTERNAL_MODULES"


def compose(
    recipe: Recipe, run: Path, *, ray_address: str | None = None, started_at: int = 0
) -> DictConfig:
    """The configuration of a run in the folder `run`, which goes on after step `started_at`.

    Raises `ConfigurationError` without a verl of the supported versions, for what verl cannot do,
    and for keys that it does not know.
    """
    check_version()
    refuse(recipe)
    config = _defaults()
    for setting in (
        *settings(recipe, run),
        *_carried(recipe),
        *_ray(run, ray_address, started_at),
    ):
        _set(config, setting)
    return config


def write(config: DictConfig, file: Path) -> None:
    """Keeps a configuration as a file that `verl.trainer.main_ppo` takes, too."""
    from omegaconf import OmegaConf

    file.write_text(OmegaConf.to_yaml(config), encoding="utf-8")


def external_modules() -> str:
    """What every process of verl imports: our plugin, after what is named already."""
    named = [one for one in os.environ.get(_MODULES, "").split(",") if one]
    return ",".join(dict.fromkeys((*named, PLUGIN)))


def _defaults() -> DictConfig:
    from hydra import compose as composed
    from hydra import initialize_config_dir

    place = find_spec("verl")
    assert place
    assert place.submodule_search_locations
    folder = Path(next(iter(place.submodule_search_locations))) / _DEFAULTS
    with initialize_config_dir(str(folder.resolve()), version_base=None):
        config: DictConfig = composed("ppo_trainer")
    return config


def _carried(recipe: Recipe) -> tuple[Setting, ...]:
    return (Setting("palimpsest.recipe", packed(recipe), new=True),)


def _ray(run: Path, address: str | None, started_at: int) -> tuple[Setting, ...]:
    # Through Ray, since the process that logs and loads may be on any node.
    variables = {
        _MODULES: external_modules(),
        "VERL_FILE_LOGGER_PATH": str(log_file(run, started_at)),
        "TENSORBOARD_DIR": str(run / "tensorboard"),
    }
    root = "ray_kwargs.ray_init"
    there = (Setting(f"{root}.address", address, new=True),) if address else ()
    return (Setting(f"{root}.runtime_env.env_vars", variables, new=True), *there)


def _set(config: DictConfig, setting: Setting) -> None:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    value: Any = setting.value
    try:
        OmegaConf.update(config, setting.key, value, merge=False, force_add=setting.new)
    except OmegaConfBaseException as error:
        by = f" ({', '.join(setting.origins)})" if setting.origins else ""
        raise ConfigurationError(
            f"the installed verl has no key {setting.key}{by}",
            hint="with a plus sign in front cluster.overrides adds a key that verl has not",
        ) from error
