"""Each diagnosis fits the words that PostgreSQL, Docker or runc really said, and no other's: taken from runs of theirs.

The order of the rows matters: a text may fit several.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_stacks.docker.container_spec import LOCK_HELD_CODE
from pgvector_stacks.docker.exit_diagnosis import (
    DIAGNOSES,
    LOG_LINES,
    ContainerState,
    describe_crash,
    diagnose,
    see_restarts,
)

EXITED = ContainerState(
    name="pgvector-dev", status="exited", exit_code=1, oom_killed=False, error="", health="", log="", volume="vol",
    memory_mb=1024, port=5433,
)  # fmt: skip
AT = "2026-11-24 12:57:15.879 UTC [1] "
CASES: tuple[tuple[str, ContainerState], ...] = (
    (
        "/dev/shm is too small for the settings",
        replace(
            EXITED,
            log=f'{AT}ERROR:  could not resize shared memory segment "/PostgreSQL.3278342192" to 63999264 bytes: '
            "No space left on device",
        ),
    ),
    (
        "the disk is full",
        replace(EXITED, log=f'{AT}FATAL:  could not write lock file "postmaster.pid": No space left on device'),
    ),
    (
        "the disk is full",
        replace(EXITED, log='running bootstrap script ... 2026-11-24 12:58:36.742 UTC [13] FATAL:  could not write to '
        'file "pg_wal/xlogtemp.13": No space left on device\nchild process exited with exit code 1'),
    ),
    (
        "port 5433 is taken on the Docker host",
        replace(EXITED, status="created", exit_code=128, error="driver failed programming external connectivity on "
        "endpoint x: Bind for 127.0.0.1:5433 failed: port is already allocated"),
    ),
    (
        "port 5433 is taken on the Docker host",
        replace(EXITED, status="created", exit_code=128, error="driver failed programming external connectivity on "
        "endpoint x: Error starting userland proxy: listen tcp4 127.0.0.1:5433: bind: address already in use"),
    ),
    (
        "the data directory is of another major version than the image",
        replace(EXITED, log=f"{AT}FATAL:  database files are incompatible with server\n{AT}DETAIL:  The data directory "
        "was initialized by PostgreSQL version 17, which is not compatible with this version 18.6 (Debian 18.6-3)."),
    ),
    ("another server already serves the data directory in volume vol", replace(EXITED, exit_code=LOCK_HELD_CODE)),
    *(
        ("the server does not know or does not accept one of the settings", replace(EXITED, log=f"{AT}FATAL:  {said}"))
        for said in (
            'unrecognized configuration parameter "work_memm"',
            'invalid value for parameter "wal_level": "lots"',
            'parameter "fsync" requires a Boolean value',
            '-3 is outside the valid range for parameter "random_page_cost" (0 .. 1.79769e+308)',
            'WAL streaming ("max_wal_senders" > 0) requires "wal_level" to be "replica" or "logical"',
            '"superuser_reserved_connections" (200) plus "reserved_connections" (0) must be less than '
            '"max_connections" (100)',
        )
    ),
    (
        "the image lacks a library that a setting names",
        replace(EXITED, log=f'{AT}FATAL:  could not access file "nonesuch": No such file or directory'),
    ),
    *(
        ("the TLS certificate or its key can't be used", replace(EXITED, log=f"{AT}FATAL:  {said}"))
        for said in (
            'could not load server certificate file "/tmp/c": no start line',
            'private key file "/tmp/k" has group or world access',
        )
    ),
    (
        "the kernel killed a process of the container: it needed more than 1024 MiB",
        replace(EXITED, exit_code=137, oom_killed=True),
    ),
    (
        "not enough memory for the settings",
        replace(EXITED, log=f"{AT}FATAL:  could not map anonymous shared memory: Cannot allocate memory"),
    ),
    *(
        ("the data directory belongs to another user than the image's postgres", replace(EXITED, log=f"{AT}{said}"))
        for said in (
            'LOG:  could not open configuration file "/tmp/d/postgresql.conf": Permission denied\n'
            f'{AT}FATAL:  configuration file "/tmp/d/postgresql.conf" contains errors',
            'FATAL:  data directory "/tmp/d" has invalid permissions',
            'FATAL:  data directory "/tmp/d" has wrong ownership',
        )
    ),
    *(
        ("the data directory is damaged", replace(EXITED, log=said))
        for said in (
            "postgres: could not find the database system\n"
            'Expected to find it in the directory "/tmp/d",\n'
            'but could not open file "/tmp/d/global/pg_control": No such file or directory',
            f'{AT}FATAL:  "/tmp/d" is not a valid data directory',
            f"{AT}PANIC:  could not locate a valid checkpoint record at 0/1500CF0",
        )
    ),
    (
        "the image has no PostgreSQL for this machine, or isn't one of the official lineage",
        replace(EXITED, status="created", exit_code=127, error="failed to create shim task: OCI runtime create failed: "
        'runc create failed: unable to start container process: exec: "postgres": executable file not found in '
        "$PATH: unknown"),
    ),
    ("the container was killed (SIGKILL)", replace(EXITED, exit_code=137, log=f"{AT}LOG:  ready")),
    ("a user or a program paused it", replace(EXITED, status="paused", exit_code=0, health="unhealthy")),
    (
        "it was stopped (docker stop, or the Docker host shut down)",
        replace(EXITED, exit_code=0, health="unhealthy", log=f"{AT}LOG:  database system is shut down"),
    ),
    ("the server runs but doesn't answer", replace(EXITED, status="running", exit_code=0, health="unhealthy")),
)  # fmt: skip


@pytest.mark.parametrize(("cause", "state"), CASES, ids=[f"{n}-{cause[:30]}" for n, (cause, _) in enumerate(CASES)])
def test_a_cause_is_told_with_the_log_and_a_remedy(cause: str, state: ContainerState) -> None:
    head, *middle, remedy = diagnose(state).splitlines()
    assert head.endswith(f": {cause}")
    assert head.startswith("the container pgvector-dev ")
    said = [line.strip() for line in f"{state.log}\n{state.error}".splitlines() if line.strip()]
    assert [line.strip() for line in middle] == said
    assert remedy.startswith("  ")
    assert not set(remedy) & {"{", "}"}


def test_every_diagnosis_has_a_case_above() -> None:
    first = {next(n for n, row in enumerate(DIAGNOSES) if row.matches(state)) for _, state in CASES}
    assert first == set(range(len(DIAGNOSES)))


def test_what_nobody_knows_points_to_the_log_of_a_container_that_is_there() -> None:
    state = replace(EXITED, log="something else", exit_code=3)
    assert diagnose(state).splitlines()[-1] == "  read the whole log:  docker logs pgvector-dev"
    # a throw-away is gone by then
    assert "docker logs" not in diagnose(state, "the server on trial")
    assert diagnose(state, "the server on trial").startswith("the server on trial exited with code 3: ")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("exited", "exited with code 1: "), ("dead", "is dead (exit code 1): "), ("missing", "is gone: "),
        ("created", "was created but did not start: "), ("restarting", "keeps exiting (code 1, 4 restarts): "),
        ("running", "runs and is unhealthy: "), ("removing", "is removing: "),
    ],
)  # fmt: skip
def test_the_first_line_says_how_the_container_is(status: str, words: str) -> None:
    state = replace(EXITED, status=status, restarts=4, health="unhealthy" if status == "running" else "")
    assert diagnose(state).startswith(f"the container pgvector-dev {words}")


@pytest.mark.parametrize(
    ("status", "health", "restarts", "seen"),
    [
        ("running", "starting", 3, "restarting"),  # between two exits
        ("running", "starting", 2, "running"),  # Docker's restart policy may have mended it
        ("running", "healthy", 9, "running"),  # its past
        ("exited", "", 9, "exited"),
    ],
)
def test_a_container_between_two_of_many_exits_is_seen_as_restarting(
    status: str, health: str, restarts: int, seen: str
) -> None:
    assert see_restarts(replace(EXITED, status=status, health=health, restarts=restarts)).status == seen


@given(st.text(), st.text(), st.integers(0, 255), st.booleans(), st.sampled_from(["exited", "running", "restarting"]))
def test_any_state_gets_one_message_with_the_end_of_its_log(
    log: str, error: str, code: int, killed: bool, status: str
) -> None:
    message = diagnose(replace(EXITED, log=log, error=error, exit_code=code, oom_killed=killed, status=status))
    assert message.startswith("the container pgvector-dev ")
    kept = [line for line in log.strip().splitlines() if line.strip()][-LOG_LINES:]
    assert all(line in message for line in kept)


def test_a_process_that_the_kernel_killed_is_found_in_the_log_and_the_last_one_told() -> None:
    at = "2026-11-24 12:18:58.182 UTC [1] LOG:  "
    assert describe_crash(f"{at}database system is ready to accept connections", 448) == ""
    assert describe_crash(f"{at}server process (PID 18) was terminated by signal 6: Aborted", 448) == ""
    log = "\n".join(
        (
            f"{at}server process (PID 18) was terminated by signal 9: Killed",
            f"{at}client backend (PID 77) was terminated by signal 9: Killed",  # as PostgreSQL 18 says it
            f"{at}terminating any other active server processes",
        )
    )
    said = describe_crash(log, 448)
    assert "the container needed more than 448 MiB" in said
    assert said.endswith("client backend (PID 77) was terminated by signal 9: Killed")
