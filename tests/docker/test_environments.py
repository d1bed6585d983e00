"""The document's four environments as containers: what each is like, and that a second `up` changes nothing."""

from __future__ import annotations

import re
from typing import Any

import psycopg
import pytest
from docker.errors import NotFound

from pgvector_stacks.common.image_names import VOLUME
from pgvector_stacks.connections.connection import connect
from tests.docker.conftest import NO_STRAY, DockerStack, Make

pytestmark = [pytest.mark.engine, pytest.mark.docker]


@pytest.mark.promise("Each environment on Docker is hardened within its limits, and a second `up` changes nothing")
@pytest.mark.parametrize("environment", ["dev", "test", "staging", "production"])
def test_each_environment_comes_up_hardened_within_its_limits_and_a_second_up_changes_nothing(
    make: Make, environment: str
) -> None:
    stack = make(environment)
    said = stack.up()
    assert "Traceback" not in said
    inspected = stack.container.attrs
    host: dict[str, Any] = inspected["HostConfig"]
    assert host["Memory"] == host["MemorySwap"] == 1024 * 2**20
    assert host["NanoCpus"] == 10**9
    assert host["ShmSize"] == 256 * 2**20
    assert host["PidsLimit"] == 512
    assert host["ReadonlyRootfs"]
    assert (host["CapDrop"], host["CapAdd"], host["SecurityOpt"]) == (["ALL"], None, ["no-new-privileges"])
    assert inspected["Config"]["User"] == "postgres"
    assert {port["HostIp"] for port in host["PortBindings"]["5432/tcp"]} == {"127.0.0.1"}
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-file": "5", "max-size": "20m"}}
    # one mount, the named volume: images up to 17 would add a stray one, which goes with the container
    assert [(mount["Name"], mount["Destination"]) for mount in inspected["Mounts"]] == [(stack.name, VOLUME)]
    for password in stack.passwords():
        assert password not in str(inspected)
        assert password not in stack.state()
        assert password not in stack.container.logs().decode()
    assert stack.ask("SHOW data_directory") == [(f"{VOLUME}/17/docker",)]
    assert stack.ask("SHOW shared_buffers") == [("256MB",)]
    second = stack.up()
    assert "is up: unchanged" in second
    stack.ok("preview", environment, "--expect-no-changes")
    assert all(line.startswith("✓") for line in stack.ok("test-connection", environment).splitlines())


def test_an_application_on_the_same_network_reaches_the_server_by_its_internal_url(make: Make) -> None:
    stack = make("dev")
    stack.up()
    outputs = stack.outputs()
    assert (outputs["network"], outputs["internalHost"]) == (stack.name, stack.name)
    for host in (outputs["internalHost"], "db"):
        url = outputs["appUrlInternal"].replace(f"@{stack.name}:", f"@{host}:")
        found = stack.client.containers.run(
            stack.container.image.id, ["psql", "-XAtc", "SELECT current_user", url], remove=True, entrypoint=[],
            network=outputs["network"], tmpfs=NO_STRAY,
        )  # fmt: skip
        assert found == b"app\n"


@pytest.mark.promise("Where TLS is demanded, connections without it are refused")
@pytest.mark.parametrize("environment", ["staging", "production"])
def test_connections_without_tls_are_refused_where_it_is_demanded(make: Make, environment: str) -> None:
    stack = make(environment)
    stack.up()
    outputs = stack.outputs()
    assert outputs["appUrl"].endswith("?sslmode=require")
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        psycopg.connect(outputs["appUrl"].replace("sslmode=require", "sslmode=disable"))
    root = stack.root / "root.crt"
    root.write_text(outputs["certificate"])
    strict = outputs["appUrl"].replace("sslmode=require", f"sslmode=verify-full&sslrootcert={root.as_uri()[7:]}")
    with psycopg.connect(strict) as connection:
        assert connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone() == (True,)
    if environment == "staging":  # and once more with the next certificate
        said = stack.ok("up", environment, "--rotate-certificate")
        assert "a new TLS certificate: asked for; the present one ends on" in said
        with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
            psycopg.connect(strict)
        root.write_text(stack.outputs()["certificate"])
        with psycopg.connect(strict):
            pass
        assert "BEGIN PRIVATE KEY" not in stack.state()
        stack.configure(memoryMb=1200)
        stack.ok("preview", environment, "--save-plan", "approved.json")
        assert "this is what was approved" in stack.ok("up", environment, "--plan", "approved.json")
        with psycopg.connect(strict):  # the certificate stays
            pass
        assert "✓ │ certificate" in stack.run("doctor", environment, COLUMNS="200").stdout
    lines = stack.ok("test-connection", environment)
    assert re.search(r"✓ TLS: TLSv1\.[23]", lines)


def test_the_volume_of_test_goes_with_the_stack_without_a_trace(make: Make) -> None:
    stack = make("test")
    stack.up()
    assert stack.ask("SHOW fsync") == [("off",)]
    assert "its data deleted" in stack.ok("down", "test")
    assert gone(stack)


def test_the_volume_of_dev_stays_and_the_next_up_has_its_rows(make: Make) -> None:
    stack = make("dev")
    stack.up()
    stack.fill()
    assert f"its data stays in the volume {stack.name}" in stack.ok("down", "dev")
    with pytest.raises(NotFound):
        _ = stack.container
    stack.up()
    assert stack.rows() == 1000
    assert "deleted" in stack.ok("down", "dev", "--delete-data")
    assert gone(stack)


@pytest.mark.promise("The volume of production is protected")
def test_the_volume_of_production_is_protected(make: Make) -> None:
    stack = make("production", drift="report")
    stack.up()
    stack.fill()
    assert "isn't deleted" in stack.fails("down", "production", "--delete-data")
    assert stack.rows() == 1000
    assert f"its data stays in the volume {stack.name}" in stack.ok("down", "production")
    stack.up()
    assert stack.rows() == 1000


def test_a_changed_password_is_rotated_without_a_restart(make: Make) -> None:
    stack = make("dev")
    stack.up()
    before, started = stack.outputs(), stack.container.attrs["State"]["StartedAt"]
    for key in ("adminPassword", "appPassword"):
        stack.secret(key, f"{key} of mine")
    stack.up()
    assert stack.container.attrs["State"]["StartedAt"] == started
    assert "of%20mine" in stack.outputs()["appUrl"]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(before["appUrl"])
    with connect(stack.admin()):
        pass
    assert "unchanged" in stack.up()


def gone(stack: DockerStack) -> bool:
    client = stack.client
    return not (
        client.volumes.list(filters={"name": stack.name})
        or client.networks.list(names=[stack.name])
        or client.containers.list(all=True, ignore_removed=True, filters={"name": stack.name})
    )
