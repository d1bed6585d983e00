"""Which plugin a test gets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.docker_plugin.install import NAME, choice, ensure, find_real, install_stand_in


def an_executable(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """No plugin anywhere."""
    (tmp_path / "bin").mkdir()
    return {"PATH": str(tmp_path / "bin"), "PULUMI_HOME": str(tmp_path / "home")}


def test_a_real_plugin_wins_on_path(tmp_path: Path, environ: dict[str, str]) -> None:
    real = an_executable(tmp_path / "bin" / NAME)
    found = ensure(tmp_path / "target", environ=environ)
    assert (found.kind, found.path, found.variables()) == ("real", real, {})
    assert not (tmp_path / "target").exists()
    assert str(real) in choice(environ)


def test_a_real_plugin_wins_in_pulumis_folder(tmp_path: Path, environ: dict[str, str]) -> None:
    real = an_executable(tmp_path / "home" / "plugins" / "resource-docker-v5.2.0" / NAME)
    assert ensure(tmp_path / "target", environ=environ).path == real


def test_a_downloaded_plugin_wins(tmp_path: Path, environ: dict[str, str]) -> None:
    folder = tmp_path / "home" / "plugins" / "resource-docker-v5.2.0"
    pulumi = an_executable(
        tmp_path / "pulumi",
        '#!/bin/sh\nset -e\n[ "$*" = "plugin install resource docker 5.2.0" ]\n'
        f"/bin/mkdir -p '{folder}'\nprintf '#!/bin/sh\\n' > '{folder}/{NAME}'\n/bin/chmod +x '{folder}/{NAME}'\n",
    )
    assert ensure(tmp_path / "target", pulumi=pulumi, environ=environ).kind == "real"


def test_else_it_is_the_stand_in_where_pulumi_looks(tmp_path: Path, environ: dict[str, str]) -> None:
    pulumi = an_executable(tmp_path / "pulumi", "#!/bin/sh\nexit 1\n")
    found = ensure(tmp_path / "target", pulumi=pulumi, environ=environ)
    assert found.kind == "stand-in"
    assert "can't be downloaded" in found.note
    assert found.variables() == {"PULUMI_HOME": str(tmp_path / "target")}
    assert found.path == tmp_path / "target" / "plugins" / "resource-docker-v5.2.0" / NAME
    assert os.access(found.path, os.X_OK)


def test_the_stand_in_is_not_taken_for_the_real_one(tmp_path: Path, environ: dict[str, str]) -> None:
    path = install_stand_in(tmp_path / "home")
    assert find_real(environ | {"PATH": str(path.parent)}) is None
    assert "stand-in" in choice(environ)
