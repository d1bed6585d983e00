"""What is read beside an `up`: the server's log, and plain Pulumi on the same stack."""

from __future__ import annotations

import os
import signal

import pytest

from tests.engine.checkout import Checkout

pytestmark = pytest.mark.engine


def test_the_log_is_printed_and_followed(deployed: Checkout) -> None:
    assert "database system is ready to accept connections" in deployed.ok("logs")
    (deployed.root / "stacks" / "Pulumi.dev.yaml").write_text("config:\n  pgvector:engine: embedded\n")
    assert "dev has no log: its server never ran here\n  start it:  pgstack up dev" in deployed.fails("logs", "dev")

    with deployed.start("logs", "--follow") as following:
        assert following.stdout is not None
        deployed.do("DO $$ BEGIN RAISE LOG 'said \x1b[2J while followed'; END $$")
        # the line comes twice: as it was said, and in the statement that said it
        assert "said \\x1b[2J while followed" in next(line for line in following.stdout if "while followed" in line)
        os.kill(following.pid, signal.SIGINT)
        assert "Traceback" not in following.stdout.read()
    assert following.returncode == 0


@pytest.mark.promise("`pgstack pulumi STACK -- …` runs plain `pulumi` on the stack's own backend")
def test_plain_pulumi_runs_on_the_stack_without_a_word_of_where_it_is(deployed: Checkout) -> None:
    elsewhere = {"PULUMI_CONFIG_PASSPHRASE": "another's"}
    revision = deployed.outputs()["schemaRevision"]
    said = deployed.ok("pulumi", "local", "--", "stack", "output", "schemaRevision", **elsewhere)
    assert said.strip() == revision

    deployed.ok("pulumi", "local", "--", "config", "set", "--secret", "pgvector:appPassword", "chosen-1", **elsewhere)
    assert "pgvector:appPassword:\n    secure: " in (deployed.root / "stacks" / "Pulumi.local.yaml").read_text()
    deployed.ok("up")
    assert "chosen-1" in deployed.outputs()["appUrl"]

    assert 'unknown command "nonsense"' in deployed.fails("pulumi", "local", "--", "nonsense")
