"""What is read beside an `up`: the server's log, and plain Pulumi on the same stack."""

from __future__ import annotations

import os
import signal
import socket

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


@pytest.mark.promise(
    "A stack file that names another key for the state's secrets is refused before the key's host is asked"
)
def test_another_key_in_the_stack_file_reaches_nobody(deployed: Checkout) -> None:
    """Pulumi would send its key to that host in the preview, and encrypt the state with it in the next `up`."""
    before = deployed.state()
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        stranger.setblocking(False)
        url = f"awskms://alias/x?region=eu-west-1&endpoint=http://127.0.0.1:{stranger.getsockname()[1]}"
        deployed.write_file(deployed.file() | {"secretsprovider": url, "encryptedkey": "AQ=="})
        for command in ("preview", "up", "down"):
            said = deployed.fails(command, AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x")
            assert f"stack local: its file names {url} for the secrets of the state, which passphrase encrypts" in said
            assert "pgstack pulumi local -- stack change-secrets-provider URL" in said
        deployed.run("outputs", AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x")
        with pytest.raises(BlockingIOError):
            stranger.accept()
    assert deployed.state() == before
