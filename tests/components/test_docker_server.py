"""What a Docker stack declares: the rules of the design, seen in the inputs the engine gets. No Docker Engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
import pytest

from components.data_directory import DataDirectoryProvider, DataProps
from components.docker_server import format_cpus
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.config.environment import ENVIRONMENTS
from tests.components.declared import DYNAMIC, Declared, Runner, database

DOCKER = [stack for stack in ENVIRONMENTS if stack != "local"]
CONTAINER = "docker:index/container:Container"


@pytest.fixture(autouse=True)
def no_docker_of_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")


def declared(run: Runner, stack: str, config: Mapping[str, Any] | None = None) -> dict[str, Declared]:
    return run(database(config, stack)).declared


@pytest.mark.parametrize("stack", DOCKER)
def test_each_resource_is_declared_once_and_below_the_stack(run: Runner, stack: str) -> None:
    found = declared(run, stack)
    types = {name: each.type.removeprefix(DYNAMIC) for name, each in found.items() if name != stack}
    expected = {
        "admin-password": "GeneratedPassword",
        "app-password": "GeneratedPassword",
        "readonly-password": "GeneratedPassword",
        "backup-key": "BackupKey",
        "claim": "Claim",
        "preflight": "Preflight",
        "docker": "pulumi:providers:docker",
        "image": "docker:index/remoteImage:RemoteImage",
        "volume": "docker:index/volume:Volume",
        "network": "docker:index/network:Network",
        "data": "DataDirectory",
        "server": CONTAINER,
        "ready": "Readiness",
        "schema": "SqlSchema",
    }
    tls = {"certificate": "GeneratedCertificate"} if stack in ("staging", "production") else {}
    assert types == expected | tls
    assert {each.parent for name, each in found.items() if name != stack} == {stack}


@pytest.mark.parametrize("stack", DOCKER)
def test_the_container_is_hardened_and_holds_no_password(run: Runner, stack: str) -> None:
    server = declared(run, stack)["server"]
    inputs = server.inputs
    assert inputs["user"] == "postgres"
    assert inputs["readOnly"]
    assert inputs["capabilities"] == {"drops": ["ALL"]}
    assert inputs["securityOpts"] == ["no-new-privileges"]
    assert inputs["envs"] == ["PGDATA=/var/lib/postgresql/17/docker"]
    assert inputs["memory"] == inputs["memorySwap"]
    assert inputs["shmSize"] < inputs["memory"]
    assert inputs["ports"][0]["ip"] == "127.0.0.1"
    assert "generated" not in str(inputs)
    assert not inputs["wait"]
    assert server.delete_before_replace


@pytest.mark.parametrize("stack", DOCKER)
def test_postgres_has_time_to_shut_down(run: Runner, stack: str) -> None:
    inputs = declared(run, stack)["server"].inputs
    assert inputs["destroyGraceSeconds"] == inputs["stopTimeout"] >= 10
    assert inputs["stopSignal"] == "SIGINT"


@pytest.mark.parametrize(("major", "places"), [("17", 3), ("18", 2)])
def test_images_up_to_17_get_no_stray_volume(run: Runner, major: str, places: int) -> None:
    inputs = declared(run, "dev", {"image": f"pgvector/pgvector:pg{major}"})["server"].inputs
    assert [mount["target"] for mount in inputs["mounts"]] == ["/var/lib/postgresql"]
    assert ("/var/lib/postgresql/data" in inputs["tmpfs"]) == (major == "17")
    assert len(inputs["tmpfs"]) == places


def test_the_volume_has_no_label_that_could_replace_it(run: Runner) -> None:
    volume = declared(run, "production")["volume"].inputs
    assert set(volume) == {"name", "driver"}


def test_the_server_runs_under_a_lock_on_its_data_directory(run: Runner) -> None:
    command = declared(run, "dev")["server"].inputs["command"]
    assert command[:7] == ["flock", "-n", "-F", "-E", "75", "/var/lib/postgresql/17/pgstack.lock", "postgres"]


def test_settings_of_the_stack_file_win_over_the_derived_ones(run: Runner) -> None:
    given = {"settings": '{"work_mem": "6MB", "log_lock_waits": true}'}
    command = declared(run, "dev", given)["server"].inputs["command"]
    assert {"work_mem=6MB", "log_lock_waits=on", "log_statement=ddl"} <= set(command)


def test_settings_that_do_not_fit_are_refused_with_the_budget(run: Runner) -> None:
    said, _ = run.refused(database({"settings": '{"shared_buffers": "900MB"}'}, "dev"), PgstackError)
    assert "900 MiB  shared_buffers" in said
    assert "pgvector:memoryMb" in said


@pytest.mark.parametrize(
    ("cpus", "text"),
    [(1, "1.0"), (0.25, "0.25"), (0.5, "0.5"), (1.05, "1.05"), (10, "10."), (100, "100."), (12, "12.0")],
)
def test_cpus_are_written_as_the_plugin_reads_them_back(cpus: float, text: str) -> None:
    assert format_cpus(cpus) == text


def test_an_adopted_volume_is_kept_as_it_is_and_everything_downstream_knows(run: Runner) -> None:
    found = declared(run, "dev", {"adoptVolume": "shop_pgdata", "database": "shop"})
    volume = found["volume"]
    assert volume.inputs["name"] == "shop_pgdata"
    assert not {"driver", "driverOpts", "labels"} & volume.inputs.keys()
    assert volume.ignore_changes == ("labels", "driver", "driverOpts")
    assert volume.retain_on_delete
    assert found["preflight"].inputs["adoptVolume"] == "shop_pgdata"
    data = found["data"].inputs
    assert (data["volumeName"], data["adopt"], data["database"]) == ("shop_pgdata", True, "shop")
    assert found["schema"].inputs["adopt"] is True
    assert found["server"].inputs["name"] == found["network"].inputs["name"] == "pgvector-dev"


@pytest.mark.parametrize("stack", DOCKER)
def test_a_stack_that_adopts_nothing_has_no_key_of_it_in_its_state(run: Runner, stack: str) -> None:
    found = declared(run, stack)
    assert "adopt" not in found["data"].inputs.keys() | found["schema"].inputs.keys()
    assert found["preflight"].inputs.get("adoptVolume") is None
    assert found["volume"].ignore_changes == ()


def checked(olds: dict[str, Any], news: dict[str, Any]) -> str:
    """What the DataDirectory's check says, before it asks any engine."""
    result = DataDirectoryProvider().check(olds, news)
    return "\n".join(failure.reason for failure in result.failures)


def test_a_stack_never_leaves_its_data_behind_in_another_volume(run: Runner) -> None:
    own = dict(declared(run, "dev")["data"].inputs)
    adopted = own | {"volumeName": "shop_pgdata", "adopt": True}
    said = checked(own, adopted)
    assert "this stack has data of its own, in the volume pgvector-dev: adopting shop_pgdata would leave it" in said
    assert "pgstack down STACK" in said
    said = checked(adopted, own)
    assert "this stack's data is in the volume shop_pgdata, which it adopted" in said
    assert "pgvector:adoptVolume: shop_pgdata" in said
    assert "shop_pgdata, which it adopted" in checked(adopted, adopted | {"volumeName": "another"})


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("memoryMb", 4096, "memory 2048 → 4096 MiB"),
        ("cpus", 2, "cpus 1 → 2"),
        ("settings", '{"log_lock_waits": "off"}', "log_lock_waits on → off"),
        ("port", 6000, "port 5433 → 6000"),
        ("bindAddress", "192.0.2.1", "address 127.0.0.1 → 192.0.2.1"),
        ("containerName", "db", "container pgvector-dev → db"),
        ("image", "example/db:pg17", "example/db:pg17"),
        ("adminPassword", "another", ""),
        ("dockerHost", "unix:///nowhere/./docker.sock", ""),
        ("pgvectorMinimum", "0.7.0", ""),
        ("stopGraceS", 77, ""),
        ("volume", "protect", ""),
        ("dataPath", "/srv/db", ""),
    ],
)
def test_a_preview_says_of_each_key_what_it_restarts_the_server_for(
    run: Runner, monkeypatch: pytest.MonkeyPatch, key: str, value: object, words: str
) -> None:
    told: list[str] = []
    monkeypatch.setattr(pulumi.log, "info", told.append)
    base = {"memoryMb": 2048, "cpus": 1, "settings": '{"log_lock_waits": "on"}', "image": "pgvector/pgvector:pg17"}
    olds = dict(declared(run, "dev", base | {"port": 5433})["data"].inputs)
    news = dict(declared(run, "dev", base | {"port": 5433, key: value})["data"].inputs)
    olds["docker"] = "tcp://127.0.0.1:1"  # nobody answers, and no server is asked for its extensions
    if key == "image":
        news["image"] = "sha256:another"
    # the state has the settings in another order
    olds["settings"] = dict(sorted(olds["settings"].items(), reverse=True))
    assert DataDirectoryProvider().check(olds, news).failures == []
    assert [words in each for each in told] == [True] * bool(words)
    assert all(each.startswith("restarts PostgreSQL: ") for each in told)
    what_the_server_runs_with = key in ("memoryMb", "cpus", "settings")
    before, after = (DataProps.from_props(props).spec for props in (olds, news))
    assert before.differs_from(after) == what_the_server_runs_with, "else there is nothing to try"


def test_an_image_that_took_the_name_of_another_is_told_by_its_digest(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(pulumi.log, "info", told.append)
    olds = dict(declared(run, "dev")["data"].inputs) | {"docker": "tcp://127.0.0.1:1"}
    DataDirectoryProvider().check(olds, olds | {"image": "sha256:fedcba0987654321"})
    assert told == [
        f"restarts PostgreSQL: image {olds['imageName']} is another one now (1234567890ab → fedcba098765)"
    ]  # fmt: skip
