"""Which verl is taken, told from what is installed alone."""

from __future__ import annotations

import pytest

from palimpsest.errors import ConfigurationError
from palimpsest.training.verl.version import check_version


def install(folder, version):
    metadata = folder / f"verl-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: verl\nVersion: {version}\n")


@pytest.mark.parametrize("version", ["0.9.1", "0.9.2", "0.9.1.post1"])
def test_a_version_in_the_range_is_taken(tmp_path, monkeypatch, version):
    install(tmp_path, version)
    monkeypatch.syspath_prepend(tmp_path)
    assert check_version() == version


@pytest.mark.parametrize("version", ["0.8.0", "0.9.0", "0.10.0.dev0", "0.10.0", "1.0"])
def test_a_version_outside_is_refused_with_what_would_do(tmp_path, monkeypatch, version):
    install(tmp_path, version)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        ConfigurationError, match=rf"verl {version} is installed.*<0\.10"
    ) as refused:
        check_version()
    assert "palimpsest-memory[verl]" in refused.value.hint
