"""The stand-in images keep what this project relies on in the published ones. Needs a Docker Engine."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import psycopg
import pytest

from tests.images.build import StandIn, docker
from tests.images.conftest import Scratch

pytestmark = pytest.mark.docker
PASSWORD = "it's a \\ test"  # noqa: S105
HARDENED = (
    *("--user", "999", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
    *("--tmpfs", "/tmp", "--tmpfs", "/var/run/postgresql:mode=3777"),
)


def logs(container: str) -> str:
    done = subprocess.run(("docker", "logs", container), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True)
    return done.stdout.decode()


def running(container: str) -> bool:
    return docker("inspect", "--format", "{{.State.Running}}", container) == "true"


def connect(
    container: str, user: str = "postgres", database: str = "postgres", require_auth: str = "scram-sha-256"
) -> psycopg.Connection:
    """A connection over TCP, waited for; what the container said where it ended instead."""
    deadline = time.monotonic() + 60
    while running(container):
        try:
            return psycopg.connect(
                host="127.0.0.1",
                port=int(docker("port", container, "5432/tcp").rpartition(":")[2]),
                user=user,
                password=PASSWORD,
                dbname=database,
                connect_timeout=5,
                autocommit=True,
                require_auth=require_auth,
            )
        except psycopg.OperationalError as error:
            if time.monotonic() > deadline:
                raise AssertionError(f"no answer over TCP: {error}\n{logs(container)}") from error
            time.sleep(0.2)
    raise AssertionError(f"the container ended:\n{logs(container)}")


def ended(container: str, timeout_s: float = 60) -> int:
    """The exit code of a container that is expected to end by itself."""
    return int(
        subprocess.run(
            ("docker", "wait", container), capture_output=True, text=True, check=True, timeout=timeout_s
        ).stdout
    )


def use_vectors(connection: psycopg.Connection) -> None:
    connection.execute("CREATE EXTENSION vector")
    connection.execute("CREATE TABLE item (id int, embedding vector(3))")
    connection.execute(
        "INSERT INTO item SELECT i, ARRAY[sin(i), cos(i), i / 300.0]::vector FROM generate_series(1, 300) AS i"
    )
    connection.execute("CREATE INDEX ON item USING hnsw (embedding vector_l2_ops)")
    connection.execute("SET enable_seqscan = off")
    nearest = "SELECT id FROM item ORDER BY embedding <-> (SELECT embedding FROM item WHERE id = 42) LIMIT 1"
    assert connection.execute(nearest).fetchone() == (42,)
    plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN {nearest}"))
    assert "item_embedding_idx" in plan


def one(connection: psycopg.Connection, query: str) -> object:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def password_file(folder: Path) -> tuple[str, ...]:
    """Options that hand the password over by file; root owns it where the tests run as root."""
    path = folder / "password"
    path.write_text(f"{PASSWORD}\n", encoding="utf-8")
    path.chmod(0o644)
    return ("--volume", f"{path}:/run/secrets/password:ro", "--env", "POSTGRES_PASSWORD_FILE=/run/secrets/password")


def test_the_configuration_is_that_of_the_published_image(stand_in: StandIn) -> None:
    config = json.loads(docker("image", "inspect", "--format", "{{json .Config}}", stand_in.name))
    environment = dict(line.split("=", 1) for line in config["Env"])
    assert environment["PG_MAJOR"] == str(stand_in.major)
    assert environment["PG_VERSION"].startswith(f"{stand_in.major}.")
    assert environment["PGDATA"] == stand_in.data
    assert environment["LANG"] == "en_US.utf8"
    assert f"/usr/lib/postgresql/{stand_in.major}/bin" in environment["PATH"].split(":")
    assert config["Entrypoint"] == ["docker-entrypoint.sh"]
    assert config["Cmd"] == ["postgres"]
    assert config["StopSignal"] == "SIGINT"
    assert config["ExposedPorts"] == {"5432/tcp": {}}
    assert config["Volumes"] == {stand_in.volume: {}}


def test_the_files_are_where_the_published_image_has_them(stand_in: StandIn, scratch: Scratch) -> None:
    major = stand_in.major
    script = f"""
        id postgres; getent passwd postgres
        stat -c '%n %U %a' /var/lib/postgresql /var/run/postgresql /docker-entrypoint-initdb.d
        ls /usr/share/postgresql/{major}/extension/vector.control /usr/lib/postgresql/{major}/lib/vector.so
        grep '^listen_addresses' /usr/share/postgresql/{major}/postgresql.conf.sample
        locale -a
        postgres --version
    """
    container = scratch.start(stand_in.name, command=("bash", "-ec", script))
    assert ended(container) == 0, logs(container)
    said = logs(container)
    assert "uid=999(postgres) gid=999(postgres)" in said
    assert "postgres:x:999:999::/var/lib/postgresql:/bin/bash" in said
    assert "/var/lib/postgresql postgres 1777" in said
    assert "/var/run/postgresql postgres 3777" in said
    assert "listen_addresses = '*'" in said
    assert "en_US.utf8" in said
    assert f"postgres (PostgreSQL) {major}." in said


def test_a_first_start_with_a_password_serves_vectors_over_tcp(stand_in: StandIn, scratch: Scratch) -> None:
    container = scratch.start(
        stand_in.name,
        *("--env", f"POSTGRES_PASSWORD={PASSWORD}", "--env", "POSTGRES_USER=anna", "--env", "POSTGRES_DB=search"),
        *("--env", "POSTGRES_INITDB_ARGS=--data-checksums --locale-provider=icu --icu-locale='en-US'"),
        command=("-c", "work_mem=7MB"),
    )
    with connect(container, "anna", "search") as connection:
        use_vectors(connection)
        assert one(connection, "SHOW data_checksums") == "on"
        assert one(connection, "SHOW data_directory") == stand_in.data
        assert one(connection, "SHOW work_mem") == "7MB"
        assert one(connection, "SELECT rolpassword LIKE 'SCRAM-SHA-256$%' FROM pg_authid WHERE rolname = 'anna'")
    assert logs(container).count("PostgreSQL init process complete; ready for start up.") == 1
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(
            host="127.0.0.1",
            port=int(docker("port", container, "5432/tcp").rpartition(":")[2]),
            user="anna",
            dbname="search",
            password="wrong",
        )


def test_a_stop_is_a_fast_shutdown_and_the_next_start_keeps_the_rows(stand_in: StandIn, scratch: Scratch) -> None:
    container = scratch.start(stand_in.name, "--env", f"POSTGRES_PASSWORD={PASSWORD}")
    with connect(container) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS row")
        docker("stop", "--time", "60", container)  # with the client still there
    assert docker("inspect", "--format", "{{.State.ExitCode}}", container) == "0"
    assert "received fast shutdown request" in logs(container)
    docker("start", container)
    with connect(container) as connection:
        assert one(connection, "SELECT row FROM kept") == 7
    assert "appears to contain a database; Skipping initialization" in logs(container)


@pytest.mark.parametrize("user", ["root", "postgres", "12345:12345"])
def test_a_password_by_file_is_read_as_any_user(user: str, stand_in: StandIn, scratch: Scratch, tmp_path: Path) -> None:
    # initdb wants to own the directory, and the image's belongs to postgres: a directory of its own below it
    data = ("--env", f"PGDATA={stand_in.volume}/own")
    container = scratch.start(stand_in.name, "--user", user, *password_file(tmp_path), *data)
    with connect(container) as connection:
        assert one(connection, "SELECT 1") == 1


def test_a_password_and_its_file_exclude_each_other(stand_in: StandIn, scratch: Scratch, tmp_path: Path) -> None:
    both = scratch.start(stand_in.name, *password_file(tmp_path), "--env", "POSTGRES_PASSWORD=x")
    assert ended(both) == 1
    assert "both POSTGRES_PASSWORD and POSTGRES_PASSWORD_FILE are set (but are exclusive)" in logs(both)


def test_a_first_start_without_a_password_is_refused(stand_in: StandIn, scratch: Scratch) -> None:
    container = scratch.start(stand_in.name)
    assert ended(container) == 1
    assert "Database is uninitialized and superuser password is not specified" in logs(container)
    trusting = scratch.start(stand_in.name, "--env", "POSTGRES_HOST_AUTH_METHOD=trust")
    with connect(trusting, require_auth="none") as connection:
        assert one(connection, "SELECT 1") == 1


def test_the_hardened_container_runs_on_a_volume_prepared_by_initdb(
    stand_in: StandIn, scratch: Scratch, tmp_path: Path
) -> None:
    data = f"/var/lib/postgresql/{stand_in.major}/docker"
    mount = ("--volume", f"{scratch.volume()}:/var/lib/postgresql", "--env", f"PGDATA={data}")
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\n", encoding="utf-8")
    path.chmod(0o644)
    initdb = f"initdb --username=postgres --pwfile=/password --auth-host=scram-sha-256 -D {data}"
    made = scratch.start(
        stand_in.name,
        *(*HARDENED, *mount, "--volume", f"{path}:/password:ro"),
        command=("bash", "-ec", f"{initdb} && echo 'host all all all scram-sha-256' >> {data}/pg_hba.conf"),
    )
    assert ended(made) == 0, logs(made)
    # without it, Docker adds an anonymous volume at the old place
    shield = ("--tmpfs", "/var/lib/postgresql/data:size=64k") if stand_in.major < 18 else ()
    container = scratch.start(stand_in.name, *HARDENED, *mount, *shield)
    with connect(container) as connection:
        use_vectors(connection)
        assert one(connection, "SHOW data_directory") == data
    assert "Skipping initialization" in logs(container)
    mounts = json.loads(docker("inspect", "--format", "{{json .Mounts}}", container))
    assert [mount["Name"] for mount in mounts if mount["Type"] == "volume"] == scratch.volumes
    environment = json.loads(docker("inspect", "--format", "{{json .Config.Env}}", container))
    assert not [line for line in environment if "PASSWORD" in line]


def test_the_hardened_container_makes_its_own_data_directory_too(
    stand_in: StandIn, scratch: Scratch, tmp_path: Path
) -> None:
    container = scratch.start(
        stand_in.name,
        *(*HARDENED, *password_file(tmp_path), "--volume", f"{scratch.volume()}:/var/lib/postgresql"),
        *("--env", f"PGDATA=/var/lib/postgresql/{stand_in.major}/docker"),
    )
    with connect(container) as connection:
        use_vectors(connection)


def scripts(folder: Path, **files: str) -> tuple[str, ...]:
    folder.chmod(0o755)
    for name, text in files.items():
        path = folder / name.replace("__", ".")
        path.write_text(text, encoding="utf-8")
        path.chmod(0o644)
    return ("--volume", f"{folder}:/docker-entrypoint-initdb.d:ro", "--env", f"POSTGRES_PASSWORD={PASSWORD}")


def test_scripts_run_in_the_order_of_their_names_on_the_socket_only(
    stand_in: StandIn, scratch: Scratch, tmp_path: Path
) -> None:
    options = scripts(
        tmp_path,
        init__sql="CREATE TABLE ran (n serial, name text); INSERT INTO ran (name) VALUES ('init')",
        install_pgvector__sql="INSERT INTO ran (name) VALUES ('install_pgvector')",
        integration_upgrade__sql="INSERT INTO ran (name) VALUES ('integration_upgrade')",
        last__sh="docker_process_sql <<<\"INSERT INTO ran (name) SELECT 'on' || current_setting('listen_addresses')\"",
        notes__txt="no script",
    )
    subprocess.run(("gzip", "-k", str(tmp_path / "install_pgvector.sql")), check=True)
    container = scratch.start(stand_in.name, *options)
    with connect(container) as connection:
        ran = [row[0] for row in connection.execute("SELECT name FROM ran ORDER BY n")]
    assert ran == ["init", "install_pgvector", "install_pgvector", "integration_upgrade", "on"]
    assert "ignoring /docker-entrypoint-initdb.d/notes.txt" in logs(container)


def test_a_failed_script_ends_the_container_and_the_next_start_skips_it(
    stand_in: StandIn, scratch: Scratch, tmp_path: Path
) -> None:
    options = scripts(
        tmp_path,
        a__sql="CREATE TABLE half AS SELECT 1 AS row",
        b__sql="SELECT no_such_function()",
        c__sql="CREATE TABLE never AS SELECT 1 AS row",
    )
    container = scratch.start(stand_in.name, *options)
    assert ended(container) == 3
    assert "function no_such_function() does not exist" in logs(container)
    docker("start", container)
    with connect(container) as connection:
        assert one(connection, "SELECT row FROM half") == 1
        assert one(connection, "SELECT to_regclass('never')") is None
    assert "Skipping initialization" in logs(container)


def test_18_refuses_data_at_the_old_place(stand_in: StandIn, scratch: Scratch) -> None:
    password = ("--env", f"POSTGRES_PASSWORD={PASSWORD}")
    old = ("--volume", f"{scratch.volume()}:/var/lib/postgresql/data")
    container = scratch.start(stand_in.name, *old, *password)
    if stand_in.major < 18:
        connect(container).close()
        return
    assert ended(container) == 1
    assert "/var/lib/postgresql/data (unused mount/volume)" in logs(container)
    root = ("--volume", f"{scratch.volume()}:/var/lib/postgresql")
    older = scratch.start(
        stand_in.name,
        *root,
        command=(
            "bash",
            "-ec",
            "mkdir -p /var/lib/postgresql/17/docker; echo 17 > /var/lib/postgresql/17/docker/PG_VERSION",
        ),
    )
    assert ended(older) == 0
    container = scratch.start(stand_in.name, *root, *password)
    assert ended(container) == 1
    assert "there appears to be PostgreSQL data in:\n         /var/lib/postgresql/17/docker" in logs(container)
