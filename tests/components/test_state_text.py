# ruff: noqa: E501
"""What the state holds of each provider is the same text under every Python, and that of the states of today."""

from __future__ import annotations

import base64
import importlib
import pickle
import shutil
import subprocess
from pathlib import Path

import pytest
from pulumi.dynamic import ResourceProvider
from pulumi.dynamic.dynamic import serialize_provider

from components.shared.provider import PICKLE_PROTOCOL, serialized

TEXTS = {
    "components.backup_key.BackupKeyProvider": "gASVMgAAAAAAAACMFWNvbXBvbmVudHMuYmFja3VwX2tleZSMEUJhY2t1cEtleVByb3ZpZGVylJOUKYGULg==",
    "components.backup_schedule.BackupFilesProvider": "gASVOQAAAAAAAACMGmNvbXBvbmVudHMuYmFja3VwX3NjaGVkdWxllIwTQmFja3VwRmlsZXNQcm92aWRlcpSTlCmBlC4=",
    "components.backup_schedule.BackupRunsProvider": "gASVOAAAAAAAAACMGmNvbXBvbmVudHMuYmFja3VwX3NjaGVkdWxllIwSQmFja3VwUnVuc1Byb3ZpZGVylJOUKYGULg==",
    "components.certificate.GeneratedCertificateProvider": "gASVPgAAAAAAAACMFmNvbXBvbmVudHMuY2VydGlmaWNhdGWUjBxHZW5lcmF0ZWRDZXJ0aWZpY2F0ZVByb3ZpZGVylJOUKYGULg==",
    "components.claim.ClaimProvider": "gASVKQAAAAAAAACMEGNvbXBvbmVudHMuY2xhaW2UjA1DbGFpbVByb3ZpZGVylJOUKYGULg==",
    "components.data_directory.DataDirectoryProvider": "gASVOgAAAAAAAACMGWNvbXBvbmVudHMuZGF0YV9kaXJlY3RvcnmUjBVEYXRhRGlyZWN0b3J5UHJvdmlkZXKUk5QpgZQu",
    "components.embedded_server.EmbeddedServerProvider": "gASVPAAAAAAAAACMGmNvbXBvbmVudHMuZW1iZWRkZWRfc2VydmVylIwWRW1iZWRkZWRTZXJ2ZXJQcm92aWRlcpSTlCmBlC4=",
    "components.password.GeneratedPasswordProvider": "gASVOAAAAAAAAACME2NvbXBvbmVudHMucGFzc3dvcmSUjBlHZW5lcmF0ZWRQYXNzd29yZFByb3ZpZGVylJOUKYGULg==",
    "components.preflight.PreflightProvider": "gASVMQAAAAAAAACMFGNvbXBvbmVudHMucHJlZmxpZ2h0lIwRUHJlZmxpZ2h0UHJvdmlkZXKUk5QpgZQu",
    "components.readiness.ReadinessProvider": "gASVMQAAAAAAAACMFGNvbXBvbmVudHMucmVhZGluZXNzlIwRUmVhZGluZXNzUHJvdmlkZXKUk5QpgZQu",
    "components.sql_schema.SqlSchemaProvider": "gASVMgAAAAAAAACMFWNvbXBvbmVudHMuc3FsX3NjaGVtYZSMEVNxbFNjaGVtYVByb3ZpZGVylJOUKYGULg==",
}
# no module of ours, whose libraries another Python lacks: a class of the same place and name
STAND_IN = """
import base64, pickle, sys, types
place, name, protocol = sys.argv[1:]
module = types.ModuleType(place)
sys.modules[place] = module
provider = type(name, (), {"__module__": place})
setattr(module, name, provider)
package = place.partition(".")[0]
sys.modules.setdefault(package, types.ModuleType(package))
print(base64.b64encode(pickle.dumps(provider(), protocol=int(protocol))).decode())
"""


def provider(path: str) -> ResourceProvider:
    module, _, name = path.rpartition(".")
    found: ResourceProvider = getattr(importlib.import_module(module), name)()
    return found


def test_every_provider_is_listed() -> None:
    folder = Path(__file__).parents[2] / "components"
    found = {
        f"components.{file.stem}.{line.split()[1].partition('(')[0]}"
        for file in folder.glob("*.py")
        for line in file.read_text().splitlines()
        if line.startswith("class ") and "(ResourceProvider)" in line
    }
    assert found == TEXTS.keys()


@pytest.mark.parametrize("path", TEXTS)
def test_the_state_holds_the_text_of_today(path: str) -> None:
    assert serialized(provider(path)) == TEXTS[path]
    assert type(pickle.loads(base64.b64decode(TEXTS[path]))).__name__ == path.rpartition(".")[2]
    if pickle.DEFAULT_PROTOCOL == PICKLE_PROTOCOL:
        assert serialize_provider(provider(path)) == TEXTS[path], "as the SDK has it"


def pythons() -> list[str]:
    """Every supported Python of this machine."""
    names = [shutil.which(f"python3.{minor}") for minor in range(11, 16)]
    places = Path.home().glob(".pyenv/versions/3.1[1-9]*/bin/python")
    found = {str(Path(each).resolve()) for each in [*names, *places] if each}
    return sorted(each for each in found if "shims" not in each)  # pyenv's: they run only what is switched on


@pytest.mark.promise("Another Python changes nothing in a state")
@pytest.mark.parametrize("python", pythons())
def test_every_python_makes_the_same_text(python: str) -> None:
    path = "components.sql_schema.SqlSchemaProvider"
    module, _, name = path.rpartition(".")
    done = subprocess.run(
        [python, "-c", STAND_IN, module, name, str(PICKLE_PROTOCOL)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == TEXTS[path]
