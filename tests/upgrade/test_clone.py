"""Where the file system shares blocks between copies: as fast as link and as small, and the way back stays."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.connections.connection import connect
from pgvector_stacks.upgrade import decision, facts
from pgvector_stacks.upgrade.engines import embedded_upgrade
from tests.lacking import loop_disk
from tests.upgrade import content, servers
from tests.upgrade.servers import PASSWORD, Machine
from tests.upgrade.test_methods import everything_is_there
from tests.upgrade.test_verify import nothing_left, verdict

MIB = 2**20


@pytest.fixture
def machine(old_template: Path) -> Iterator[Machine]:
    """On an XFS of its own."""
    with loop_disk(2048, "mkfs.xfs", "-m", "reflink=1") as place, servers.machine(place / "my data") as made:
        servers.copy(old_template, made.root)
        yield made


def test_everything_is_there_and_the_way_back_is_open(machine: Machine) -> None:
    assert embedded_upgrade.measure_disk(machine.root).reflink
    assert "(clone: about 5 s of downtime)" in embedded_upgrade.describe(machine.job, PASSWORD, "clone")
    everything_is_there(machine, "clone")


def test_it_is_chosen_where_a_standby_would_lack_rows_and_takes_no_room_to_speak_of(machine: Machine) -> None:
    with connect(machine.address(machine.old, "app"), own_path=True) as connection:
        connection.execute(
            "CREATE UNLOGGED TABLE quick AS SELECT i, repeat('x', 900) FROM generate_series(1, 2e5) AS i"
        )
        connection.execute("CHECKPOINT")
    before = content.counts(machine.address(machine.old))
    size = facts.query_source(machine.address(machine.old)).data_bytes
    assert size > 200 * MIB
    rest = decision.MARGIN_BYTES + size // 2  # less than a copy takes
    with (machine.root / "filling").open("wb") as filling:
        os.posix_fallocate(filling.fileno(), 0, free(machine) - rest)
    said = embedded_upgrade.describe(machine.job, PASSWORD, None)
    assert "(clone: about 5 s of downtime)" in said
    assert "not standby: unlogged tables would arrive empty on a standby: app: public.quick" in said
    with pytest.raises(ServerError, match=r"pgvector:upgradeMethod = copy: it needs .* free, there are"):
        embedded_upgrade.describe(machine.job, PASSWORD, "copy")
    outcome = embedded_upgrade.upgrade(machine.job, PASSWORD, None, machine.said.append)
    assert outcome.method == "clone"
    assert content.counts(machine.address(machine.new)) == before
    assert rest - free(machine) < 150 * MIB  # WAL and catalogs of the new cluster
    with nothing_left(machine):
        assert verdict(machine).differs == ()
    assert any("sharing its blocks" in line for line in machine.said)


def free(machine: Machine) -> int:
    return embedded_upgrade.measure_disk(machine.root).free_bytes
