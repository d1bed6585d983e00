"""The document's four environments as containers: what each is like, and that a second `up` changes nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import psycopg
import pytest
from docker.errors import NotFound

from pgvector_stacks.common.image_names import VOLUME
from pgvector_stacks.connections.connection import connect
from tests.docker.conftest import NO_STRAY, DockerStack, Make

pytestmark = [pytest.mark.engine, pytest.mark.docker]


@pytest.mark.promise("Each environment on Docker is hardened within its limits, and a second `up` changes nothing")
@pytest.mark.promise("Without a typed name or `--yes`, `down` removes only what is local")
def test_dev_comes_up_hardened_and_is_reached_by_its_internal_url_and_its_volume_stays(make: Make) -> None:
    stack = make("dev")
    comes_up_hardened(stack)
    stack.ok("preview", "dev", "--expect-no-changes")
    is_reached_by_its_internal_url(stack)
    passwords_are_rotated_without_a_restart(stack)

    stack.fill()
    down_without_the_typed_name_is_refused(stack)
    assert "database system is ready to accept connections" in stack.ok("logs", "dev")
    assert f"its data stays in the volume {stack.name}" in stack.ok("down", "dev", "--yes")
    with pytest.raises(NotFound):
        _ = stack.container
    stack.up()
    assert stack.rows() == 1000
    assert "deleted" in stack.ok("down", "dev", "--delete-data", "--yes")
    assert gone(stack)


def test_test_comes_up_hardened_and_goes_with_its_volume_without_a_trace(make: Make) -> None:
    stack = make("test")
    comes_up_hardened(stack)
    assert stack.ask("SHOW fsync") == [("off",)]
    assert "removes the server of test, its generated passwords and its data:" in stack.fails("down", "test")
    assert "its data deleted" in stack.ok("down", "test", "--yes")
    assert gone(stack)


@pytest.mark.promise("Where TLS is demanded, connections without it are refused")
def test_staging_comes_up_hardened_and_refuses_connections_without_tls_with_the_next_certificate_too(
    make: Make,
) -> None:
    stack = make("staging")
    comes_up_hardened(stack)
    root, strict = connections_without_tls_are_refused(stack)

    said = stack.ok("up", "staging", "--rotate-certificate")
    assert "a new TLS certificate: asked for; the present one ends on" in said
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        psycopg.connect(strict)
    root.write_text(stack.outputs()["certificate"])
    with psycopg.connect(strict):
        pass
    assert "BEGIN PRIVATE KEY" not in stack.state()
    stack.configure(memoryMb=1200)
    stack.ok("preview", "staging", "--save-plan", "approved.json")
    assert "this is what was approved" in stack.ok("up", "staging", "--plan", "approved.json")
    with psycopg.connect(strict):  # the certificate stays
        pass
    assert "✓ │ certificate" in stack.run("doctor", "staging", COLUMNS="200").stdout
    assert re.search(r"✓ TLS: TLSv1\.[23]", stack.ok("test-connection", "staging"))


@pytest.mark.promise("The volume of production is protected")
def test_production_comes_up_hardened_and_refuses_connections_without_tls_and_its_volume_is_protected(
    make: Make,
) -> None:
    stack = make("production")
    comes_up_hardened(stack)
    connections_without_tls_are_refused(stack)

    stack.fill()
    stack.configure(drift="report")
    assert "isn't deleted" in stack.fails("down", "production", "--delete-data")
    assert stack.rows() == 1000
    assert f"its data stays in the volume {stack.name}" in stack.ok("down", "production", "--yes")
    stack.up()
    assert stack.rows() == 1000


def down_without_the_typed_name_is_refused(stack: DockerStack) -> None:
    """No test has a terminal."""
    state = stack.state()
    for more, takes in (
        ((), "and its generated passwords; its data stays:"),
        (("--delete-data",), ", its generated passwords and its data:"),
    ):
        said = stack.fails("down", "dev", *more)
        assert f"`down` removes the server of dev{'' if more else ' '}{takes} its name has to be typed" in said
        assert "where nobody can be asked:  --yes" in said
    assert stack.rows() == 1000
    assert stack.state() == state


def comes_up_hardened(stack: DockerStack) -> None:
    """Within its limits, no password where it doesn't belong; a second `up` changes nothing."""
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
    checks = stack.ok("test-connection", stack.stack).splitlines()
    assert all(line.startswith("✓") for line in checks)
    if stack.stack in ("staging", "production"):
        assert any(re.match(r"✓ TLS: TLSv1\.[23]", line) for line in checks)


def is_reached_by_its_internal_url(stack: DockerStack) -> None:
    """By an application on the same network."""
    outputs = stack.outputs()
    assert (outputs["network"], outputs["internalHost"]) == (stack.name, stack.name)
    for host in (outputs["internalHost"], "db"):
        url = outputs["appUrlInternal"].replace(f"@{stack.name}:", f"@{host}:")
        found = stack.client.containers.run(
            stack.container.image.id, ["psql", "-XAtc", "SELECT current_user", url], remove=True, entrypoint=[],
            network=outputs["network"], tmpfs=NO_STRAY,
        )  # fmt: skip
        assert found == b"app\n"


def connections_without_tls_are_refused(stack: DockerStack) -> tuple[Path, str]:
    """The file of the certificate that is trusted, and the URL of an application that trusts it alone."""
    outputs = stack.outputs()
    assert outputs["appUrl"].endswith("?sslmode=require")
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        psycopg.connect(outputs["appUrl"].replace("sslmode=require", "sslmode=disable"))
    root = stack.root / "root.crt"
    root.write_text(outputs["certificate"])
    strict = outputs["appUrl"].replace("sslmode=require", f"sslmode=verify-full&sslrootcert={root.as_uri()[7:]}")
    with psycopg.connect(strict) as connection:
        assert connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone() == (True,)
    return root, strict


def passwords_are_rotated_without_a_restart(stack: DockerStack) -> None:
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
