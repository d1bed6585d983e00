"""What counts only at an upgrade is no difference before: a stack of an earlier release shows none for a new key."""

from __future__ import annotations

from typing import Any

import pytest

from components.shared.engine import ONLY_AT_AN_UPGRADE, ignore_upgrade_only_changes, upgrade_inputs
from components.shared.upgrade_props import UpgradeProps
from pgvector_stacks.backup.copies.remote import RemoteCopies
from pgvector_stacks.config.environment import ENVIRONMENTS, from_config

KEY: Any = "key"
PLAIN = {"major": 17.0, "stack": "production", "database": "app"}
WANTED = {
    "upgradeBackup": True,
    "stack": "dev",
    "database": "app",
    "backupKeep": 14.0,
    "backupCopy": "ssh://there/copies",
}


@pytest.mark.parametrize("key", ONLY_AT_AN_UPGRADE)
def test_a_key_that_counts_at_an_upgrade_is_no_difference_before(key: str) -> None:
    for olds in ({}, PLAIN, PLAIN | {key: "as it was"}):
        assert ignore_upgrade_only_changes(olds, PLAIN | {key: "new"}) == PLAIN | {
            k: olds[k] for k in (key,) if k in olds
        }
    assert ignore_upgrade_only_changes(PLAIN, PLAIN | {"major": 18, key: "new"}) == PLAIN | {"major": 18, key: "new"}


def test_what_the_state_has_of_an_upgrade_stays() -> None:
    """Or a second `up` would show it."""
    after = ignore_upgrade_only_changes(PLAIN, PLAIN | {"major": 18, "driftPolicy": "refuse"})
    assert ignore_upgrade_only_changes(after, PLAIN | {"major": 18, "driftPolicy": "report"}) == after


@pytest.mark.parametrize("stack", ENVIRONMENTS)
def test_drift_is_refused_before_an_upgrade_where_it_is_refused_at_all(stack: str) -> None:
    environment = from_config(stack, {})
    found = UpgradeProps.from_props(upgrade_inputs(environment, KEY)).no_drift(UpgradeProps(database="as deployed"))
    assert (found is None) == (environment.drift == "report")
    if found is not None:
        assert (found.stack, found.database) == (stack, "as deployed")


def test_without_an_older_state_the_declared_database_is_asked() -> None:
    news: dict[str, Any] = upgrade_inputs(from_config("staging", {"database": "shop"}), KEY)
    found = UpgradeProps.from_props(news).no_drift(UpgradeProps())
    assert found is not None
    assert found.database == "shop"


@pytest.mark.parametrize(("wanted", "made"), [({}, False), ({"upgradeBackup": False}, False), (WANTED, True)])
def test_the_backup_after_an_upgrade_is_made_where_it_is_wanted(wanted: dict[str, Any], made: bool) -> None:
    after = UpgradeProps.from_props(wanted).backup_after()
    assert (after is not None) is made
    if after is not None:
        assert (after.into.name, after.count, after.place) == ("dev", 14, RemoteCopies("ssh://there/copies", "dev"))
