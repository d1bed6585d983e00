"""An `up` does what was approved, or nothing: against the real engine and a real server."""

from __future__ import annotations

import re

import pytest

from tests.engine.checkout import KNOWN_SECRETS, Checkout

pytestmark = pytest.mark.engine


@pytest.mark.promise("An `up` does what was approved, or nothing")
def test_an_up_does_what_was_approved_and_stops_where_anything_is_otherwise(deployed: Checkout) -> None:
    """The attacker changes the database, or gets another script in, between the approval and the `up`."""
    deployed.add_script("create table app.rating (id int)", "0004_rating.sql")
    deployed.ok("preview", "--save-plan", "approved.json")
    text = (deployed.root / "approved.json").read_text()
    assert '"scripts"' in text
    assert not any(word in text for word in (*KNOWN_SECRETS, "v1:", "rating"))

    deployed.add_script("create table app.unseen (id int)", "0005_unseen.sql")
    deployed.do("ALTER ROLE app CONNECTION LIMIT 3")  # an `up` puts it right, and nobody has approved that
    said = deployed.fails("up", "--plan", "approved.json")
    assert "isn't what was approved, so nothing was changed" in said
    assert re.search(r"SqlSchema schema: approved was update \(.*scripts\), now it is update \(.*mend.*\)", said)
    assert deployed.ask("SELECT to_regclass('app.rating')") == [(None,)]

    deployed.ok("preview", "--save-plan", "approved.json")
    said = deployed.ok("up", "--plan", "approved.json")
    assert "this is what was approved: approved.json" in said
    assert "plan.json" not in said
    assert deployed.ask("SELECT to_regclass('app.unseen') IS NOT NULL") == [(True,)]
