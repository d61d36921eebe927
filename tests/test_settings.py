"""Settings come from arguments, then the environment, then a file; what is wrong is named."""

import pytest

from palimpsest.errors import ConfigurationError
from palimpsest.models import LocalModel, OpenAIModel, RecordedModel, SightModel
from palimpsest.settings import ModelSettings, open_model, resolve_settings


@pytest.fixture
def config(tmp_path):
    """Writes the configuration file and gives the environment that names it."""

    def write(text: str) -> dict[str, str]:
        path = tmp_path / "config.toml"
        path.write_text(text)
        return {"PALIMPSEST_CONFIG": str(path)}

    return write


def test_arguments_win_over_the_environment_and_that_over_the_file(config):
    environment = config(
        '[model]\nname = "file"\nbase_url = "http://file/v1"\ntimeout_s = 3\nretries = 3'
    )
    environment |= {"PALIMPSEST_MODEL": "environment", "PALIMPSEST_BASE_URL": "http://environment"}
    settings = resolve_settings(ModelSettings(name="argument"), environment)
    assert settings.name == "argument"
    assert settings.base_url == "http://environment"
    assert (settings.timeout_s, settings.retries) == (3, 3)


def test_our_own_variables_win_over_those_of_openai(config):
    environment = config("") | {
        "OPENAI_BASE_URL": "http://openai/v1",
        "OPENAI_API_KEY": "openai",
        "PALIMPSEST_API_KEY": "ours",
    }
    settings = resolve_settings(None, environment)
    assert (settings.base_url, settings.api_key) == ("http://openai/v1", "ours")


def test_a_false_or_zero_is_set_and_wins(config):
    environment = config("[model]\nsight = true\nretries = 4")
    settings = resolve_settings(ModelSettings(sight=False, retries=0), environment)
    assert (settings.sight, settings.retries) == (False, 0)


def test_no_file_is_no_settings(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve_settings(None, {}) == ModelSettings()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[model]\nretries = -1", "retries"),
        ('[model]\nrecord_mode = "maybe"', "record_mode"),
        ("[model]\ntemperature = 1", "temperature"),
        ('[models]\nname = "x"', "models"),
        ('model = "x"', "model"),
        ("not toml", "config.toml"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(config, text, named):
    with pytest.raises(ConfigurationError, match=named) as caught:
        resolve_settings(None, config(text))
    assert "config.toml" in str(caught.value)
    assert caught.value.hint


def test_an_empty_variable_is_not_set(config):
    environment = config("[model]\nretries = 4") | {"OPENAI_BASE_URL": "", "PALIMPSEST_RETRIES": ""}
    settings = resolve_settings(None, environment)
    assert (settings.base_url, settings.retries) == (None, 4)


def test_what_is_wrong_in_the_environment_is_named(config):
    environment = config("") | {"PALIMPSEST_WINDOW": "12"}
    with pytest.raises(ConfigurationError, match=r"the environment.*window"):
        resolve_settings(None, environment)


def test_a_file_that_is_named_must_exist(tmp_path):
    with pytest.raises(ConfigurationError, match="does not exist"):
        resolve_settings(None, {"PALIMPSEST_CONFIG": str(tmp_path / "none.toml")})


def test_the_key_is_never_shown():
    assert "secret" not in repr(ModelSettings(api_key="secret"))


def test_an_endpoint_needs_a_model_name():
    with pytest.raises(ConfigurationError, match="no model is named") as caught:
        open_model(ModelSettings(base_url="http://127.0.0.1:1/v1"))
    assert "--model" in caught.value.hint


def test_the_embedded_model_is_the_default_and_has_eyes():
    assert isinstance(open_model(ModelSettings()), SightModel)
    assert isinstance(open_model(ModelSettings(sight=False)), LocalModel)
    assert open_model(ModelSettings(name="local:some/folder/tiny.gguf")).name == "tiny"


def test_an_endpoint_sees_for_itself_unless_told_otherwise(tmp_path):
    settings = ModelSettings(name="m", base_url="http://127.0.0.1:1/v1")
    assert isinstance(open_model(settings), OpenAIModel)
    assert isinstance(open_model(settings.model_copy(update={"sight": True})), SightModel)
    recorded = settings.model_copy(update={"record": str(tmp_path / "calls.sqlite")})
    assert isinstance(open_model(recorded), RecordedModel)
    off = recorded.model_copy(update={"record_mode": "off"})
    assert isinstance(open_model(off), OpenAIModel)
