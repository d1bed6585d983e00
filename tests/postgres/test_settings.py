"""The settings that follow from the limits: within them for every size, and the same each time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pgvector_stacks.sizing.settings import MAX_CONNECTIONS, Limits, derive_settings, settings_hash

LIMITS = st.builds(Limits, memory_mb=st.integers(256, 1 << 20), cpus=st.floats(0.25, 512))


def megabytes(settings: dict[str, str], name: str) -> int:
    assert settings[name].endswith("MB")
    return int(settings[name].removesuffix("MB"))


@given(LIMITS)
def test_the_budget_fits_into_the_memory(limits: Limits) -> None:
    """Shared buffers, one build, three autovacuum workers, and a sort in every tenth connection."""
    settings = derive_settings(limits)
    budget = megabytes(settings, "shared_buffers") + megabytes(settings, "maintenance_work_mem")
    budget += 3 * megabytes(settings, "autovacuum_work_mem") + MAX_CONNECTIONS // 10 * megabytes(settings, "work_mem")
    assert budget <= limits.memory_mb


@given(LIMITS)
def test_no_more_workers_than_processors(limits: Limits) -> None:
    settings = derive_settings(limits)
    assert int(settings["max_parallel_workers"]) <= max(2, limits.cpus)
    assert int(settings["max_parallel_maintenance_workers"]) <= max(1, limits.cpus)


@given(LIMITS)
def test_what_fails_on_hosts_we_do_not_know_is_never_set(limits: Limits) -> None:
    settings = derive_settings(limits)
    assert "io_method" not in settings
    assert settings.get("huge_pages") != "try"
    assert settings["wal_compression"] != "lz4"


def test_the_worked_example_of_one_gigabyte() -> None:
    settings = derive_settings(Limits(1024, 1))
    assert (settings["shared_buffers"], settings["maintenance_work_mem"], settings["work_mem"]) == (
        "256MB",
        "64MB",
        "4MB",
    )


def test_only_environments_that_may_vanish_lose_durability() -> None:
    assert "fsync" not in derive_settings(Limits(1024, 1))
    assert derive_settings(Limits(1024, 1), durability="none")["fsync"] == "off"


@given(LIMITS, LIMITS)
def test_the_hash_changes_with_the_settings_and_only_then(one: Limits, other: Limits) -> None:
    first, second = derive_settings(one), derive_settings(other)
    assert (settings_hash(first) == settings_hash(second)) == (first == second)
