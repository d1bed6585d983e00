# ruff: noqa: E501
"""What the state holds of each provider is the same text under every Python, and that of the states of today."""

from __future__ import annotations

import base64
import importlib
import pickle
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dill
import pytest
from pulumi.dynamic.dynamic import serialize_provider
from pulumi.output import Unknown

from components.shared.props import TEXT
from components.shared.provider import PICKLE_PROTOCOL, Provider, serialize
from components.shared.registry import PROVIDERS, provider_named
from pgvector_stacks.automation import provider_guard
from pgvector_stacks.automation.provider_process import Failed

TEXTS = {
    "backup-files": "gASVRAAAAAAAAACMGmNvbXBvbmVudHMuc2hhcmVkLnJlZ2lzdHJ5lIwOcHJvdmlkZXJfbmFtZWSUk5SMDGJhY2t1cC1maWxlc5SFlFKULg==",
    "backup-key": "gASVQgAAAAAAAACMGmNvbXBvbmVudHMuc2hhcmVkLnJlZ2lzdHJ5lIwOcHJvdmlkZXJfbmFtZWSUk5SMCmJhY2t1cC1rZXmUhZRSlC4=",
    "backup-runs": "gASVQwAAAAAAAACMGmNvbXBvbmVudHMuc2hhcmVkLnJlZ2lzdHJ5lIwOcHJvdmlkZXJfbmFtZWSUk5SMC2JhY2t1cC1ydW5zlIWUUpQu",
    "certificate": "gASVQwAAAAAAAACMGmNvbXBvbmVudHMuc2hhcmVkLnJlZ2lzdHJ5lIwOcHJvdmlkZXJfbmFtZWSUk5SMC2NlcnRpZmljYXRllIWUUpQu",
    "claim": "gASVPQAAAAAAAACMGmNvbXBvbmVudHMuc2hhcmVkLnJlZ2lzdHJ5lIwOcHJvdmlkZXJfbmFtZWSUk5SMBWNsYWltlIWUUpQu",
    "data-directory": "gASVRgAAAAAAAACMGmNvbXBvbmVudHMuc2hhcmVkLnJlZ2lzdHJ5lIwOcHJvdmlkZXJfbmFtZWSUk5SMDmRhdGEtZGlyZWN0b3J5lIWUUpQu",
    "embedded-server": "gASVRwAAAAAAAACMGmNvbXBvbmVudHMuc2hhcmVkLnJlZ2lzdHJ5lIwOcHJvdmlkZXJfbmFtZWSUk5SMD2VtYmVkZGVkLXNlcnZlcpSFlFKULg==",
    "password": "gASVQAAAAAAAAACMGmNvbXBvbmVudHMuc2hhcmVkLnJlZ2lzdHJ5lIwOcHJvdmlkZXJfbmFtZWSUk5SMCHBhc3N3b3JklIWUUpQu",
    "preflight": "gASVQQAAAAAAAACMGmNvbXBvbmVudHMuc2hhcmVkLnJlZ2lzdHJ5lIwOcHJvdmlkZXJfbmFtZWSUk5SMCXByZWZsaWdodJSFlFKULg==",
    "readiness": "gASVQQAAAAAAAACMGmNvbXBvbmVudHMuc2hhcmVkLnJlZ2lzdHJ5lIwOcHJvdmlkZXJfbmFtZWSUk5SMCXJlYWRpbmVzc5SFlFKULg==",
    "sql-schema": "gASVQgAAAAAAAACMGmNvbXBvbmVudHMuc2hhcmVkLnJlZ2lzdHJ5lIwOcHJvdmlkZXJfbmFtZWSUk5SMCnNxbC1zY2hlbWGUhZRSlC4=",
}
# in states from before providers had names
FORMER_TEXTS = {
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
# no module of ours, whose libraries another Python lacks: a function of the same place and name
STAND_IN = """
import base64, pickle, sys, types
place, function, name, protocol = sys.argv[1:]
module = types.ModuleType(place)
sys.modules[place] = module
for package in ("components", "components.shared"):
    sys.modules.setdefault(package, types.ModuleType(package))
def found(name): ...
found.__module__, found.__name__, found.__qualname__ = place, function, function
setattr(module, function, found)
class Provider:
    def __reduce__(self):
        return found, (name,)
print(base64.b64encode(pickle.dumps(Provider(), protocol=int(protocol))).decode())
"""


def kinds() -> set[type[Provider]]:
    """Every provider class of `components`."""
    for file in (Path(__file__).parents[2] / "components").glob("*.py"):
        importlib.import_module(f"components.{file.stem}")
    return {each for each in Provider.__subclasses__() if each.__module__.startswith("components.")}


def test_every_provider_has_a_name_a_place_and_a_text() -> None:
    named = {name: type(provider_named(name)) for name in PROVIDERS}
    assert {kind.name: kind for kind in kinds()} == named
    assert len(kinds()) == len(PROVIDERS)
    assert TEXTS.keys() == PROVIDERS.keys()


@pytest.mark.parametrize("name", TEXTS)
def test_the_state_holds_the_text_of_today(name: str) -> None:
    provider = provider_named(name)
    assert isinstance(provider, Provider)
    assert serialize(provider) == TEXTS[name]
    assert type(provider_guard.load(base64.b64decode(TEXTS[name]))) is type(provider)
    assert type(dill.loads(base64.b64decode(TEXTS[name]))) is type(provider), "as plain Pulumi reads it"
    if pickle.DEFAULT_PROTOCOL == PICKLE_PROTOCOL:
        assert serialize_provider(provider) == TEXTS[name], "as the SDK has it"


@pytest.mark.parametrize("path", FORMER_TEXTS)
@pytest.mark.parametrize("loads", [provider_guard.load, dill.loads])
def test_the_text_of_a_former_state_is_read(path: str, loads: Callable[[bytes], Any]) -> None:
    found = loads(base64.b64decode(FORMER_TEXTS[path]))
    assert type(found) is type(provider_named(found.name))


def test_the_guard_knows_every_path_of_former_states() -> None:
    assert {".".join(("components", *each)) for each in provider_guard.FORMER} == FORMER_TEXTS.keys()


def test_a_name_of_another_version_is_refused_in_words() -> None:
    with pytest.raises(Failed, match=r"'vanished', which this version of pgvector-stacks lacks\n  use the version"):
        provider_named("vanished")


@pytest.mark.parametrize("name", TEXTS)
def test_another_text_for_the_same_provider_is_no_change(name: str) -> None:
    """And what is one stays one: the engine compares, and prints the keys."""
    provider = provider_named(name)
    assert isinstance(provider, Provider)
    news = {"a": 1.0, "b": [{"c": "x"}], "revision": "made", TEXT: TEXTS[name]}
    olds = news | {TEXT: "of before"} | dict.fromkeys(provider.outputs, "made")
    assert provider.diff("id", olds, news).changes is False
    changes: tuple[dict[str, Any], ...] = ({"a": 2.0}, {"b": [{"c": "y"}]}, {"d": "new"}, {"a": Unknown()})  # type: ignore[no-untyped-call]
    for change in changes:
        assert provider.diff("id", olds, news | change).changes is None
    assert provider.diff("id", olds | {"only": "read wrote it"}, news).changes is None


def pythons() -> list[str]:
    """Every supported Python of this machine."""
    names = [shutil.which(f"python3.{minor}") for minor in range(11, 16)]
    places = Path.home().glob(".pyenv/versions/3.1[1-9]*/bin/python")
    found = {str(Path(each).resolve()) for each in [*names, *places] if each}
    return sorted(each for each in found if "shims" not in each)  # pyenv's: they run only what is switched on


@pytest.mark.promise("Another Python changes nothing in a state")
@pytest.mark.parametrize("python", pythons())
def test_every_python_makes_the_same_text(python: str) -> None:
    where = [provider_named.__module__, provider_named.__name__]
    done = subprocess.run(
        [python, "-c", STAND_IN, *where, "sql-schema", str(PICKLE_PROTOCOL)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == TEXTS["sql-schema"]
