"""The embedded server: made whole or not at all, survives its starter, found again, never started twice."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgvector_stacks.common.errors import ConnectionFailed, ServerError
from pgvector_stacks.connections.connection import Address, connect
from pgvector_stacks.embedded import embedded_server
from pgvector_stacks.sizing.settings import derive_settings
from tests.conftest import LIMITS

SETTINGS = derive_settings(LIMITS)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[embedded_server.Directory]:
    """Below a folder only its owner may enter, with a space in its name."""
    (tmp_path / "my data").mkdir(mode=0o700)
    made = embedded_server.Directory(tmp_path / "my data" / "18", 18)
    yield made
    embedded_server.stop(made)


def address(port: int, password: str = "it's") -> Address:
    return Address(embedded_server.HOST, port, "postgres", embedded_server.ADMIN, password)


def test_a_server_is_made_started_and_found_again(directory: embedded_server.Directory) -> None:
    assert embedded_server.server_status(directory) == "missing"
    embedded_server.initialise(directory, "it's")
    assert embedded_server.server_status(directory) == "stopped"
    port = embedded_server.start(directory, SETTINGS)
    assert embedded_server.server_status(directory) == "running"
    assert embedded_server.start(directory, SETTINGS) == port == embedded_server.read_last_port(directory)
    assert embedded_server.read_settings(directory) == SETTINGS
    embedded_server.ensure_password(directory, port, "it's")
    with connect(address(port)) as connection:
        row = connection.execute(
            "SELECT current_setting('data_checksums'), current_setting('listen_addresses'), system_identifier::text"
            " FROM pg_control_system()"
        ).fetchone()
    assert row == ("on", "127.0.0.1", embedded_server.system_identifier(directory))


@pytest.mark.parametrize("major", embedded_server.VERSIONS)
def test_both_majors_start_with_the_derived_settings(tmp_path: Path, major: int) -> None:
    made = embedded_server.Directory(tmp_path / str(major), major)
    embedded_server.initialise(made, "it's")
    try:
        with connect(address(embedded_server.start(made, SETTINGS))) as connection:
            assert connection.info.server_version // 10000 == major
    finally:
        embedded_server.stop(made)


@pytest.mark.promise("Nobody enters the embedded server without its password")
def test_nobody_gets_in_without_the_password(directory: embedded_server.Directory) -> None:
    embedded_server.initialise(directory, "it's")
    port = embedded_server.start(directory, SETTINGS)
    with pytest.raises(ConnectionFailed, match="refuses the password"):
        connect(address(port, "guess"))


def test_a_kept_data_directory_takes_a_new_password_when_the_state_is_lost(
    directory: embedded_server.Directory,
) -> None:
    embedded_server.initialise(directory, "old")
    port = embedded_server.start(directory, SETTINGS)
    embedded_server.ensure_password(directory, port, "new 'quoted' \\ word")
    connect(address(port, "new 'quoted' \\ word")).close()
    with pytest.raises(ConnectionFailed):
        connect(address(port, "old"))


def test_a_half_made_directory_is_made_again(directory: embedded_server.Directory) -> None:
    unfinished = directory.path.with_name("18.unfinished")
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18\n")
    embedded_server.initialise(directory, "it's")
    assert not unfinished.exists()
    assert embedded_server.start(directory, SETTINGS)


def test_the_port_is_kept_over_restarts_and_left_when_it_is_taken(directory: embedded_server.Directory) -> None:
    embedded_server.initialise(directory, "it's")
    port = embedded_server.start(directory, SETTINGS)
    embedded_server.stop(directory)
    assert embedded_server.start(directory, SETTINGS) == port
    embedded_server.stop(directory)
    with socket.socket() as other:
        other.bind((embedded_server.HOST, port))
        other.listen()
        assert embedded_server.start(directory, SETTINGS) != port


def test_a_configured_port_that_is_taken_is_an_error_that_names_it(directory: embedded_server.Directory) -> None:
    embedded_server.initialise(directory, "it's")
    with socket.socket() as other:
        other.bind((embedded_server.HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ServerError, match=f"port {port} is taken"):
            embedded_server.start(directory, SETTINGS, port=port)


def test_a_pid_file_of_a_crash_or_a_reboot_is_no_server(directory: embedded_server.Directory) -> None:
    embedded_server.initialise(directory, "it's")
    for stale in (os.getpid(), 2**22 - 1):
        (directory.path / "postmaster.pid").write_text(f"{stale}\n{directory.path}\n0\n0\n\n\n0 0\n")
        assert embedded_server.server_status(directory) == "stopped"
        embedded_server.start(directory, SETTINGS)
        embedded_server.stop(directory)


def test_two_starts_at_once_make_one_server(directory: embedded_server.Directory) -> None:
    embedded_server.initialise(directory, "it's")
    ports: list[int] = []
    threads = [
        threading.Thread(target=lambda: ports.append(embedded_server.start(directory, SETTINGS))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ports) == 3
    assert len(set(ports)) == 1


STARTER = """
import sys
from pathlib import Path
from pgvector_stacks.embedded import embedded_server as embedded
directory = embedded.Directory(Path(sys.argv[1]), 18)
print(embedded.start(directory, embedded.read_settings(directory)), flush=True)
sys.stdin.read()
"""


def test_the_server_survives_the_process_that_started_it_and_holds_none_of_its_pipes(
    directory: embedded_server.Directory,
) -> None:
    embedded_server.initialise(directory, "it's")
    embedded_server.write_settings(directory, 0, SETTINGS)
    root = Path(__file__).parent.parent.parent
    process = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(directory.path)], cwd=root, start_new_session=True, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout
    assert process.stdin
    (directory.path / embedded_server.SETTINGS_FILE).write_text("")
    port = int(process.stdout.readline())
    os.killpg(process.pid, signal.SIGKILL)
    assert process.stdout.read() == ""  # ends only when nobody holds the other end
    process.stdin.close()
    process.stdout.close()
    process.wait()
    connect(address(port)).close()


def test_an_unfit_directory_is_told_with_the_last_lines_of_the_log(directory: embedded_server.Directory) -> None:
    embedded_server.initialise(directory, "it's")
    with pytest.raises(ServerError, match=r"PostgreSQL 18 did not start:\n.*invalid value") as failed:
        embedded_server.start(directory, SETTINGS | {"wal_level": "nonsense"})
    assert str(directory.log) not in str(failed.value) or "wal_level" in str(failed.value)


def test_a_version_the_wheel_lacks_is_told() -> None:
    with pytest.raises(ServerError, match="has PostgreSQL 16 and 18, not 17"):
        embedded_server.find_bin_directory(17)


@pytest.mark.parametrize(
    ("cpuinfo", "missing"),
    [
        ("flags\t\t: fpu avx avx2 bmi1 bmi2 fma f16c\n", set()),
        ("flags\t\t: fpu sse4_2 avx f16c\nflags\t: other", {"avx2", "bmi2", "fma"}),
        ("processor: 0\nFeatures: neon", set()),
    ],
)
def test_a_processor_that_lacks_what_the_wheel_needs_is_recognised(cpuinfo: str, missing: set[str]) -> None:
    assert embedded_server.find_missing_cpu_features(cpuinfo) == missing


def test_free_ports_differ_from_one_checkout_to_the_next() -> None:
    assert next(embedded_server.find_free_ports("/one/.data/local/18")) != next(
        embedded_server.find_free_ports("/two/.data/local/18")
    )


@pytest.mark.skipif(sys.platform != "linux", reason="the range is read where Linux shows it")
def test_no_outgoing_connection_takes_a_port_of_ours() -> None:
    lowest = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]
    assert max(embedded_server.PORTS) < int(lowest)
