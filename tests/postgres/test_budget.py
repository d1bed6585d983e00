"""A container's settings: what they take together stays below its limit, or the message names a limit that does."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pgvector_stacks.common.errors import SettingRefused
from pgvector_stacks.config.environment import DEFAULTS, from_config
from pgvector_stacks.connections.setting_units import BASE_KB, parse_size_kb
from pgvector_stacks.embedded import embedded_server
from pgvector_stacks.sizing.budget import (  # fmt: skip
    LEAST_MB,
    MOST_MB,
    SHM_SLACK_MB,
    STEP_MB,
    TunedServer,
    compute_shm_mb,
    derive_max_connections,
    find_least_memory_mb,
    tune,
    tune_for_container,
)
from pgvector_stacks.sizing.settings import Limits, derive_settings
from tests.conftest import FreshDatabase

MEMORY = st.integers(LEAST_MB, MOST_MB)
LIMITS = st.builds(Limits, memory_mb=MEMORY, cpus=st.floats(0.25, 512))
OVERRIDES = st.fixed_dictionaries(
    {},
    optional={
        "maintenance_work_mem": st.integers(1, 20_000).map("{}MB".format),
        "shared_buffers": st.integers(1, 40).map("{}GB".format),
        "work_mem": st.integers(64, 300_000).map(str),
        "max_connections": st.integers(1, 5000).map(str),
        "autovacuum_work_mem": st.sampled_from(["-1", "1GB", "512MB"]),
    },
)


@pytest.mark.parametrize("stack", DEFAULTS)
def test_the_defaults_of_every_environment_fit(stack: str) -> None:
    environment = from_config(stack, {})
    tuned = tune_for_container(environment.limits, environment.durability)
    assert tuned.budget.fits, tuned.budget.table()


def test_the_worked_example_of_one_gigabyte() -> None:
    tuned = tune_for_container(Limits(1024, 1))
    names = ("shared_buffers", "maintenance_work_mem", "work_mem", "max_connections", "huge_pages")
    assert [tuned.settings[name] for name in names] == ["256MB", "64MB", "4MB", "50", "off"]
    assert tuned.shm_mb == 256


def test_a_container_gets_what_the_embedded_engine_gets_but_connections_locks_and_huge_pages() -> None:
    embedded_settings, container = derive_settings(Limits(1024, 2)), tune_for_container(Limits(1024, 2)).settings
    differing = {name for name, value in container.items() if embedded_settings.get(name) != value}
    assert differing == {"max_connections", "max_locks_per_transaction", "huge_pages"}
    assert embedded_settings["max_connections"] == "100"


def test_the_least_memory_there_is_does_not_fit_and_the_table_says_what_does() -> None:
    budget = tune_for_container(Limits(256, 1)).budget
    assert not budget.fits
    assert budget.table().splitlines() == [
        "pgvector:memoryMb = 256: what the server may hold at once does not fit",
        "        64 MiB  shared_buffers: in use once the tables have been read",
        "        28 MiB  rest of shared memory: locks, WAL, buffer headers",
        "        16 MiB  index builds: 1 × maintenance_work_mem 16 MiB, in /dev/shm where parallel",
        "        48 MiB  autovacuum: 3 × autovacuum_work_mem 16 MiB",
        "        83 MiB  connections: 20 × 4.1 MiB",
        "        32 MiB  sorts and hashes: 4 at a time × work_mem 4 MiB × hash_mem_multiplier 2",
        "        16 MiB  the server's own processes: checkpointer, writers, launchers",
        "       287 MiB  together; allowed are 204 MiB (80 %), the rest is page cache",
        "  set pgvector:memoryMb to 448 or more",
    ]


@given(st.integers(LEAST_MB, 3 * 4096), st.floats(0.25, 512), OVERRIDES, st.integers(1, 4))
@hypothesis_settings(deadline=None, max_examples=300)
def test_the_memory_a_message_names_fits_and_one_step_less_does_not(
    memory_mb: int, cpus: float, own: dict[str, str], builds: int
) -> None:
    def at(mb: int) -> TunedServer:
        return tune_for_container(Limits(mb, cpus), "safe", own, concurrent_builds=builds)

    budget = at(memory_mb).budget
    if budget.fits:
        assert budget.fitting_mb is None
        return
    named = budget.fitting_mb
    if named is None:  # each more of memory is more of shared_buffers, which every connection maps
        assert not at(MOST_MB).budget.fits
        return
    assert f"set pgvector:memoryMb to {named} or more" in budget.table()
    assert named % STEP_MB == 0
    assert named > memory_mb
    assert at(named).budget.fits
    assert named - STEP_MB <= memory_mb or not at(named - STEP_MB).budget.fits


@given(MEMORY, st.integers(0, 4096), st.floats(0.25, 512), OVERRIDES)
@hypothesis_settings(deadline=None, max_examples=300)
def test_what_is_needed_never_falls_when_memory_grows(
    memory_mb: int, more: int, cpus: float, own: dict[str, str]
) -> None:
    """What `least_memory_mb` relies on."""
    small, large = (tune(Limits(mb, cpus), own).budget.total_mb for mb in (memory_mb, memory_mb + more))
    assert small <= large


def test_what_is_needed_never_falls_where_connections_are_added() -> None:
    needed = [tune(Limits(mb, 2)).budget.total_mb for mb in range(LEAST_MB, 4096)]
    assert needed == sorted(needed)


@pytest.mark.promise("What fits into a memory limit fits into a larger one")
@pytest.mark.parametrize("cpus", [0.25, 1, 2, 4])
def test_whoever_has_enough_has_enough_with_more(cpus: float) -> None:
    """On the multiples a message names."""
    fits = [tune(Limits(mb, cpus)).budget.fits for mb in range(LEAST_MB, 32768, STEP_MB)]
    assert fits == sorted(fits)


@given(LIMITS, st.integers(1, 8), OVERRIDES)
@hypothesis_settings(deadline=None)
def test_shm_holds_the_builds_and_lies_inside_the_limit_of_what_fits(
    limits: Limits, builds: int, own: dict[str, str]
) -> None:
    tuned = tune(limits, own, concurrent_builds=builds)
    assert tuned.shm_mb >= tuned.budget.mb("index builds") + SHM_SLACK_MB
    assert tuned.shm_mb == compute_shm_mb(limits, tuned.build_mb, concurrent_builds=builds)
    if tuned.budget.fits:
        assert tuned.shm_mb < limits.memory_mb


@given(LIMITS, st.integers(1, 8), OVERRIDES)
@hypothesis_settings(deadline=None)
def test_a_build_of_the_scripts_gets_what_the_rest_leaves_and_never_less_than_the_servers_own(
    limits: Limits, builds: int, own: dict[str, str]
) -> None:
    tuned = tune(limits, own, concurrent_builds=builds)
    besides = tuned.budget.total_mb - tuned.budget.mb("index builds")
    assert tuned.build_mb >= tuned.budget.mb("index builds") // builds
    if tuned.budget.fits:
        assert besides + builds * tuned.build_mb <= tuned.budget.allowed_mb < besides + builds * (tuned.build_mb + 1)


@given(st.integers(LEAST_MB, MOST_MB - 1))
def test_connections_are_twenty_to_a_hundred_and_grow(memory_mb: int) -> None:
    assert 20 <= derive_max_connections(memory_mb) <= derive_max_connections(memory_mb + 1) <= 100


@given(LIMITS)
def test_the_lock_table_is_as_large_as_with_a_hundred_connections(limits: Limits) -> None:
    settings = tune(limits).settings
    room = int(settings["max_locks_per_transaction"]) * int(settings["max_connections"])
    wanted = int(derive_settings(limits)["max_locks_per_transaction"]) * 100
    assert wanted * 0.95 <= room <= wanted


# overrides


def test_an_override_wins_and_counts() -> None:
    limits = Limits(4096, 2)
    tuned = tune_for_container(limits, "safe", {"Maintenance_Work_Mem": "0.5GB", "track_io_timing": "on"})
    assert tuned.settings["maintenance_work_mem"] == "0.5GB"
    assert tuned.settings["track_io_timing"] == "on"
    assert tuned.budget.mb("index builds") == 512
    assert tuned.shm_mb == tuned.build_mb + SHM_SLACK_MB == 1049
    assert tune_for_container(limits, "safe", {"max_wal_size": "2GB"}).wal_mb == 2048


def test_the_message_names_the_overrides_that_could_be_lowered() -> None:
    table = tune_for_container(Limits(1024, 1), "safe", {"work_mem": "256MB", "jit": "on"}).budget.table()
    assert table.splitlines()[-2].startswith("  set pgvector:memoryMb to ")
    assert table.splitlines()[-1] == "  or lower in pgvector:settings: work_mem"


def test_an_override_that_fits_nowhere_is_told_so() -> None:
    budget = tune_for_container(Limits(1024, 1), "safe", {"shared_buffers": "1.5TB"}).budget
    assert budget.fitting_mb is None
    assert budget.table().splitlines()[-1] == (
        "  no memoryMb up to 1048576 is enough; lower in pgvector:settings: shared_buffers"
    )


def test_more_builds_at_once_than_any_memory_holds_are_told_so() -> None:
    budget = tune_for_container(Limits(1024, 1), concurrent_builds=1000).budget
    assert budget.table().splitlines()[-1] == "  no memoryMb up to 1048576 is enough"


def test_autovacuum_without_a_limit_of_its_own_takes_that_of_a_build() -> None:
    budget = tune_for_container(Limits(4096, 2), "safe", {"autovacuum_work_mem": "-1"}).budget
    assert budget.mb("autovacuum") == 3 * 256


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("io_method", "io_uring", "refused, Docker's seccomp profile forbids it"),
        ("huge_pages", "TRY", "refused, initdb and the server die by SIGBUS"),
        ("listen_addresses", "*", "not here, the engine sets it"),
        ("fsync", "off", "not here, it follows from pgvector:durability"),
        ("max connections", "1", "this is not the name of a setting"),
        ("work_mem", "4MB\nfsync=off", "a value is one line"),
        ("maintenance_work_mem", "1 gigabyte", "allowed: a number with one of the units B, kB, MB, GB, TB"),
        ("work_mem", "4mb", "upper and lower case matter"),
        ("shared_buffers", "lots", "without a unit it counts 8 kB"),
        ("shared_buffers", "0", "allowed is more than 0 and less than 2TB"),
        ("work_mem", "-1", "is no size"),
        ("max_connections", "many", "allowed is a whole number from 1"),
        ("hash_mem_multiplier", "0.5", "allowed is a number from 1 to 1000"),
    ],
)
def test_an_override_that_cannot_be_is_refused_by_name(name: str, value: str, told: str) -> None:
    with pytest.raises(SettingRefused) as error:
        tune_for_container(Limits(1024, 1), "safe", {name: value})
    assert str(error.value).startswith(f"pgvector:settings: {name} = {value!r}")
    assert told in str(error.value)


def test_all_refused_overrides_are_told_at_once() -> None:
    with pytest.raises(SettingRefused) as error:
        tune_for_container(Limits(1024, 1), "safe", {"port": "1", "work_mem": "4MB", "WORK_MEM": "8MB"})
    assert str(error.value).splitlines() == [
        "pgvector:settings: port = '1': not here, the engine sets it",
        "pgvector:settings: WORK_MEM = '8MB': given twice, upper and lower case are the same",
    ]


@given(LIMITS)
def test_what_fails_in_a_container_is_never_derived(limits: Limits) -> None:
    settings = tune(limits).settings
    assert settings["huge_pages"] == "off"
    assert "io_method" not in settings
    assert settings["wal_compression"] == "pglz"  # any build has it


def test_a_limit_that_needs_itself_is_found_and_an_endless_one_given_up() -> None:
    assert find_least_memory_mb(lambda mb: mb // 2 + 300, 256) == 640  # 576 needs 588, which is one step more
    assert find_least_memory_mb(lambda mb: mb + 1, 256) is None
    assert find_least_memory_mb(lambda _: 1, 256) == 256


# against real servers


@pytest.fixture(scope="module", params=embedded_server.VERSIONS)
def stopped(request: pytest.FixtureRequest) -> Iterator[embedded_server.Directory]:
    """A data directory nobody serves: `postgres -C` computes what a server would take."""
    with tempfile.TemporaryDirectory(prefix="pgstack test ") as folder:
        directory = embedded_server.Directory(Path(folder) / "data", request.param)
        embedded_server.initialise(directory, "secret")
        yield directory


@pytest.mark.parametrize(
    ("limits", "own"),
    [
        (Limits(256, 1), {}),
        (Limits(1024, 1), {}),
        (Limits(4096, 2), {}),
        (Limits(4096, 2), {"max_connections": "500"}),
        (Limits(4096, 2), {"max_locks_per_transaction": "4096"}),
        (Limits(4096, 2), {"wal_buffers": "64MB"}),
        (Limits(16384, 32), {}),
    ],
)
def test_the_servers_shared_memory_is_what_the_budget_says(
    stopped: embedded_server.Directory, limits: Limits, own: dict[str, str]
) -> None:
    tuned = tune(limits, own)
    options = [word for name, value in tuned.settings.items() for word in ("-c", f"{name}={value}")]
    command = [
        str(embedded_server.find_bin_directory(stopped.major) / "postgres"),
        "-D",
        str(stopped.path),
        "-C",
        "shared_memory_size",
    ]
    asked = subprocess.run(
        [*embedded_server.unprivileged_prefix(), *command, *options],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    said = tuned.budget.mb("shared_buffers") + tuned.budget.mb("rest of shared memory")
    assert int(asked.stdout) <= said <= int(asked.stdout) * 1.05 + 10


def test_a_server_reads_sizes_as_we_do(fresh_database: FreshDatabase) -> None:
    with_units = ["64", "4096kB", "4MB", "1.5MB", "0.25GB", "1 GB", "131072B"]
    for value in with_units:
        fresh_database.do(f"ALTER DATABASE {fresh_database.admin.database} SET work_mem = '{value}'")
        found = fresh_database.ask("SELECT setting::bigint FROM pg_settings WHERE name = 'work_mem'")
        assert found == [(parse_size_kb("work_mem", value),)]


def test_a_plain_number_has_the_unit_the_server_says(fresh_database: FreshDatabase) -> None:
    units = {"8kB": 8, "kB": 1, "MB": 1024}
    names = ", ".join(f"'{name}'" for name in BASE_KB)
    rows = fresh_database.ask(f"SELECT name, unit FROM pg_settings WHERE name IN ({names})")
    assert {name: units[unit] for name, unit in rows} == dict(BASE_KB)
