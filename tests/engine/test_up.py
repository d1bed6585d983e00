"""The first five minutes and the day after, through the real Pulumi engine."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from pgvector_stacks.config.environment import ROOT
from pgvector_stacks.embedded import embedded_server
from tests.engine.checkout import Checkout

pytestmark = pytest.mark.engine
OUTPUTS = {
    "host", "port", "database", "appUrl", "readonlyUrl", "adminUrl", "engine", "postgresVersion", "pgvectorVersion",
    "schemaRevision", "validation", "sslmode", "appUser", "appPassword",
}  # fmt: skip


@pytest.mark.promise("An `up` brings a database that validation found good, and a second `up` changes nothing")
def test_up_brings_a_validated_database_and_a_second_one_says_unchanged(checkout: Checkout) -> None:
    said = checkout.ok("up")
    assert "local is up: 8 created" in said
    found = checkout.outputs()
    assert set(found) == OUTPUTS
    assert all(result.startswith("ok") for result in found["validation"].values())
    with psycopg.connect(found["appUrl"]) as app:
        assert app.execute("SELECT count(*) FROM tenant").fetchone() == (0,)
    with psycopg.connect(found["readonlyUrl"]) as readonly, pytest.raises(psycopg.errors.InsufficientPrivilege):
        readonly.execute("DELETE FROM tenant")
    before = checkout.state()
    assert "local is up: unchanged" in checkout.ok("up")
    assert "8 unchanged" in checkout.ok("preview", "--expect-no-changes")
    assert _without_times(checkout.state()) == _without_times(before)


@pytest.mark.promise("No password lies in the state or in a log in plain text")
def test_no_password_is_in_the_state_in_plain_text(deployed: Checkout) -> None:
    words = deployed.passwords()
    assert len(set(words)) == 3
    for file in [*(deployed.root / ".pulumi").rglob("*"), *(deployed.root / ".data").glob("*/*.log")]:
        content = file.read_bytes() if file.is_file() else b""
        for word in words:
            assert word.encode() not in content, file
    hidden = deployed.ok("outputs", "local", "--format", "json")
    assert not any(word in hidden for word in words)
    assert json.loads(hidden[hidden.index("{") :])["appUrl"] == "[secret]"


def test_the_line_to_paste_opens_psql(deployed: Checkout) -> None:
    line = deployed.ok("up").strip().splitlines()[-1]
    assert line.endswith("pgstack psql local")
    for role, user in {"app": "app", "readonly": "readonly", "admin": "postgres"}.items():
        said = deployed.ok("psql", "local", "--as", role, "--", "-XAtc", "SELECT current_user")
        assert said.splitlines()[-1] == user
    assert deployed.run("psql", "local", "--", "-Xc", "SELECT 1/0").returncode == 1


@pytest.mark.promise("A preview names each script that the `up` will run, and runs none")
def test_a_new_script_is_named_in_the_preview_and_runs_in_the_up(deployed: Checkout) -> None:
    deployed.add_script("create table app.rating (id int)", "0004_rating.sql")
    said = deployed.fails("preview", "--diff", "--expect-no-changes", code=2)
    assert "to run: sql/0004_rating.sql (new)" in said
    assert re.search(r"\+ 0004 0004_rating\.sql", said)
    assert deployed.ask("SELECT to_regclass('app.rating')") == [(None,)]
    deployed.ok("up")
    assert deployed.ask("SELECT to_regclass('app.rating') IS NOT NULL") == [(True,)]
    assert "unchanged" in deployed.ok("up")


@pytest.mark.promise("A state in which the scripts were a map shows no change")
def test_a_state_from_before_the_listings_were_text_shows_no_change(deployed: Checkout) -> None:
    file = deployed.root / ".pulumi" / "stacks" / "pgvector" / "local.json"
    content = json.loads(file.read_text())
    for resource in content["checkpoint"]["latest"]["resources"]:
        if resource["urn"].endswith("SqlSchema::schema"):
            for side, key in itertools.product(("inputs", "outputs"), ("scripts", "verify")):
                lines = resource[side][key].splitlines()
                resource[side][key] = dict(line.split("  ") for line in lines)
    file.write_text(json.dumps(content))
    assert "8 unchanged" in deployed.ok("preview", "--expect-no-changes")
    deployed.add_script("create table app.rating (id int)", "0004_rating.sql")
    said = deployed.fails("preview", "--diff", "--expect-no-changes", code=2)
    assert re.search(r"\+ 0004 0004_rating\.sql", said)
    assert not re.search(r"[-+] 0003 ", said)
    deployed.ok("up")
    assert "unchanged" in deployed.ok("up")


@pytest.mark.promise("A script that fails leaves nothing behind, and its corrected form succeeds")
def test_a_failing_script_fails_the_up_and_its_mended_form_goes_through(deployed: Checkout) -> None:
    deployed.add_script("create table app.one ();\nselect nonsense;", "0004_bad.sql")
    said = deployed.fails("up")
    assert said.count('error: sql/0004_bad.sql:2:8: column "nonsense" does not exist (42703)') == 1
    assert said.count("error:") == 1
    assert deployed.ask("SELECT to_regclass('app.one')") == [(None,)]
    (deployed.root / "sql" / "0004_bad.sql").write_text("create table app.one ();")
    deployed.ok("up")
    assert deployed.fails("status", code=0).count("applied") == 4


@pytest.mark.promise("A preview refuses a script that was edited after it ran")
def test_an_edited_script_is_an_error_in_preview(deployed: Checkout) -> None:
    path = deployed.root / "sql" / "init.sql"
    path.write_text(path.read_text().replace("DEFAULT 'en'", "DEFAULT 'de'"))
    said = deployed.fails("preview")
    assert said.count("\nerror: sql/init.sql was changed after it ran in local") == said.count("error:") == 1
    assert "-- pgstack: repeatable" in said
    assert "edited   sql/init.sql" in deployed.fails("status", code=2)
    path.write_text(path.read_text().replace("DEFAULT 'de'", "DEFAULT /* no change */  'en'"))
    assert "8 unchanged" in deployed.ok("preview", "--expect-no-changes")
    deployed.configure(scripts=["init.sql", "nothing.sql"])  # found by the program itself, and not by a provider
    said = deployed.fails("preview")
    assert said.count("\nerror: scripts: sql/nothing.sql does not exist") == said.count("nothing.sql") == 1


@pytest.mark.promise("A server that died is started again on its port, with its rows")
def test_a_server_found_dead_is_started_again_and_nothing_is_lost(deployed: Checkout) -> None:
    deployed.do("INSERT INTO app.tenant (name) VALUES ('kept')")
    port = deployed.outputs()["port"]
    process = embedded_server.find_postmaster(deployed.directory)
    assert process
    os.kill(process, signal.SIGKILL)
    said = deployed.fails("preview", "--expect-no-changes", code=2)
    assert "EmbeddedServer server update [diff: ~server]" in said
    deployed.ok("up")
    assert deployed.outputs()["port"] == port
    assert deployed.ask("SELECT name FROM app.tenant") == [("kept",)]


@pytest.mark.promise("A reboot of the machine loses no row of the embedded server")
def test_a_reboot_in_between_loses_nothing(deployed: Checkout) -> None:
    """A pid file whose number belongs to another process now, as after a reboot."""
    deployed.do("INSERT INTO app.tenant (name) VALUES ('kept')")
    embedded_server.stop(deployed.directory)
    (deployed.directory.path / "postmaster.pid").write_text(
        f"{os.getpid()}\n{deployed.directory.path}\n0\n0\n\n\n0 0\n"
    )
    deployed.ok("up")
    assert deployed.ask("SELECT name FROM app.tenant") == [("kept",)]


@pytest.mark.promise("`down` keeps the data, and the next `up` serves it")
def test_down_keeps_the_data_and_the_next_up_finds_it(deployed: Checkout) -> None:
    deployed.do("INSERT INTO app.tenant (name) VALUES ('kept')")
    old = deployed.passwords()
    said = deployed.ok("down")
    assert "its data stays in .data/local/" in said
    assert embedded_server.server_status(deployed.directory) == "stopped"
    deployed.ok("up")
    assert deployed.ask("SELECT name FROM app.tenant") == [("kept",)]
    assert not set(old) & set(deployed.passwords())
    deployed.ok("down", "--delete-data")
    assert not (deployed.root / ".data" / "local").exists()


@pytest.mark.promise("A data directory that is lost is made again with all its scripts")
def test_a_lost_data_directory_is_made_again_with_all_its_scripts(deployed: Checkout) -> None:
    import shutil

    embedded_server.stop(deployed.directory)
    shutil.rmtree(deployed.directory.path)
    deployed.ok("up")
    assert deployed.ask("SELECT count(*) FROM pgstack.ledger") == [(3,)]
    assert "unchanged" in deployed.ok("up")


@pytest.mark.promise("Drift is a warning, or a refusal where the stack file says so, and can be accepted by name")
def test_drift_is_a_warning_here_and_a_refusal_where_the_stack_says_so(deployed: Checkout) -> None:
    deployed.do("ALTER TABLE app.tenant ADD COLUMN by_hand int")
    assert "drift: column app.tenant.by_hand was added (integer)" in deployed.ok("preview")
    deployed.configure(drift="refuse")
    for command in ("preview", "up"):
        said = deployed.fails(command)
        assert said.count("\nerror: the schema of local was changed by other hands than its scripts") == 1
        assert said.count("error:") == 1
        assert "pgstack accept local KIND IDENTITY" in said
    deployed.ok("accept", "local", "column", "app.tenant.by_hand")
    # what was done to the stack's own roles is no reason to refuse: `up` puts it right, and runs for that alone
    deployed.do("ALTER ROLE app PASSWORD 'x' VALID UNTIL '2020-01-01'; REVOKE USAGE ON SCHEMA app FROM readonly")
    said = deployed.fails("status", code=2) + deployed.ok("preview")
    for wrong in (
        "role app has another password",
        "valid until 2020-01-01",
        "schema app was changed: readonly lost USAGE",
    ):
        assert said.count(wrong) >= 2
    deployed.ok("up")
    assert "unchanged" in deployed.ok("up")
    deployed.ok("test-connection", "local")
    assert "drift    none" in deployed.ok("status")


@pytest.mark.promise("An older database that was restored gets the scripts it lacks")
def test_a_restored_older_database_gets_the_scripts_it_lacks(deployed: Checkout) -> None:
    deployed.ok("new", "more")
    with (deployed.root / "sql" / "0004_more.sql").open("a") as file:
        file.write("create table more (id int);\n")
    deployed.ok("up")
    deployed.do("DROP TABLE app.more")
    deployed.do("DELETE FROM pgstack.ledger WHERE name = '0004_more.sql'")
    deployed.do("DELETE FROM pgstack.object WHERE identity LIKE 'app.more%'")
    said = deployed.ok("preview")
    assert "to run: sql/0004_more.sql (new)" in said
    assert "schema update [diff: +ledger]" in said
    deployed.ok("up")
    assert deployed.ask("SELECT count(*) FROM app.more") == [(0,)]
    assert "unchanged" in deployed.ok("up")


@pytest.mark.promise("A changed limit restarts the server, and it is validated again")
def test_a_changed_limit_restarts_the_server_and_validates_again(deployed: Checkout) -> None:
    deployed.configure(memoryMb=768)
    said = deployed.fails("preview", "--diff", "--expect-no-changes", code=2)
    assert "shared_buffers" in said
    deployed.ok("up")
    assert deployed.ask("SHOW shared_buffers") == [("192MB",)]
    assert deployed.ask("SELECT count(*) FROM pgstack.ledger") == [(3,)]
    assert "unchanged" in deployed.ok("up")


def test_another_major_version_is_refused_and_the_data_stays(deployed: Checkout) -> None:
    path = deployed.root / "stacks" / "Pulumi.local.yaml"
    path.write_text(path.read_text().replace("postgresVersion: 18", "postgresVersion: 16"))
    said = deployed.fails("up")
    assert "this stack's data is PostgreSQL 18's, the file says 16" in said
    assert not (deployed.root / ".data" / "local" / "16").exists()


@pytest.mark.promise("A password is rotated without a restart of the server")
def test_a_password_of_ones_own_is_used_and_rotated_without_a_restart(deployed: Checkout) -> None:
    started = deployed.ask("SELECT pg_postmaster_start_time()")
    for word in ("first word", "second:word@/"):
        env = _plain(deployed)
        for key in ("appPassword", "adminPassword"):
            command = ["pulumi", "config", "set", "--secret", "--stack", "local", f"pgvector:{key}", f"{key} {word}"]
            subprocess.run(command, cwd=deployed.root, env=env, check=True, capture_output=True)
        deployed.ok("up")
        assert "unchanged" in deployed.ok("up")
        with psycopg.connect(deployed.outputs()["appUrl"]) as app:
            assert app.info.password == f"appPassword {word}"
    assert deployed.ask("SELECT pg_postmaster_start_time()") == started


def test_a_password_in_plain_text_is_refused(checkout: Checkout) -> None:
    checkout.configure(appPassword="oops")
    said = checkout.fails("up")
    assert "pgvector:appPassword is in the stack file in plain text" in said
    assert "oops" not in said


@pytest.mark.promise("Every mistake of a stack file is reported at once, before anything is created")
def test_every_mistake_of_a_stack_file_is_reported_before_anything_is_made(checkout: Checkout) -> None:
    checkout.configure(memroyMb=512, cpus="many", engin="docker")
    said = checkout.fails("up")
    for words in ("memroyMb (value '512'); did you mean \"memoryMb\"?", "pgvector:cpus = 'many'", "pgvector:engin "):
        assert words in said
    assert not (checkout.root / ".data").exists()


def test_a_taken_port_is_told_in_preview(checkout: Checkout) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        checkout.configure(port=taken.getsockname()[1])
        said = checkout.fails("preview")
    assert "something else listens on it" in said
    checkout.ok("up")


def test_an_unknown_stack_makes_nothing(checkout: Checkout) -> None:
    said = checkout.fails("up", "prodution")
    assert 'did you mean "production"?' in said
    assert not (checkout.root / ".pulumi").exists()


@pytest.mark.promise("With what `pgstack env` prints, plain `pulumi` sees the same stack")
def test_plain_pulumi_sees_the_same_stack_with_what_env_prints(deployed: Checkout) -> None:
    done = subprocess.run(
        ["pulumi", "stack", "output", "schemaRevision", "--stack", "local"],
        cwd=deployed.root, env=_plain(deployed), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == deployed.outputs()["schemaRevision"], done.stderr


def test_someone_logged_in_elsewhere_with_a_passphrase_gets_the_same(checkout: Checkout, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / ".pulumi").mkdir(parents=True)
    (home / ".pulumi" / "credentials.json").write_text('{"current": "https://example.invalid"}')
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    said = checkout.ok("up", HOME=str(home), XDG_CACHE_HOME=cache, PULUMI_CONFIG_PASSPHRASE="mine")
    assert "8 created" in said


@pytest.mark.promise("Two checkouts on one machine don't disturb each other")
def test_two_checkouts_side_by_side_have_ports_of_their_own(deployed: Checkout, tmp_path: Path) -> None:
    import shutil

    other = Checkout(tmp_path / "other")
    shutil.copytree(deployed.root, other.root, ignore=shutil.ignore_patterns(".data", ".pulumi"))
    try:
        other.ok("up")
        assert other.outputs()["port"] != deployed.outputs()["port"]
        assert "unchanged" in deployed.ok("up")
    finally:
        other.ok("down", "--delete-data")


@pytest.mark.promise("`pulumi up` and `pgstack up` are the same")
def test_pulumi_up_and_pgstack_up_are_the_same(checkout: Checkout, request: pytest.FixtureRequest) -> None:
    """Where the official CLI brings the language host: both see one stack, one state, no change."""
    toolchain = request.getfixturevalue("toolchain")
    if not toolchain.language_host:
        pytest.skip("no pulumi-language-python here: it comes with the official Pulumi CLI only")
    (checkout.root / ".venv").symlink_to(Path(sys.prefix))
    checkout.ok("up")
    for command in (["preview", "--expect-no-changes"], ["up", "--yes", "--expect-no-changes"]):
        done = subprocess.run(
            ["pulumi", *command, "--stack", "local", "--non-interactive"],
            cwd=checkout.root, env=_plain(checkout), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    checkout.add_script("create table app.one ()", "0004_one.sql")
    done = subprocess.run(
        ["pulumi", "up", "--yes", "--stack", "local", "--non-interactive"],
        cwd=checkout.root, env=_plain(checkout), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "unchanged" in checkout.ok("up")


def _plain(checkout: Checkout) -> dict[str, str]:
    """The environment after eval "$(pgstack env local)"."""
    exports = subprocess.run(
        [sys.executable, "-m", "pgvector_stacks.cli", "env", "local"],
        cwd=checkout.root, env=checkout.environment(), capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    printed = subprocess.run(
        ["sh", "-c", f"{exports}\nenv -0"], env=checkout.environment(), capture_output=True, text=True, check=True
    ).stdout
    return dict(line.split("=", 1) for line in printed.split("\0") if "=" in line)


def _without_times(state: str) -> object:
    found = json.loads(state)["checkpoint"]["latest"]
    found.pop("manifest")
    found["resources"].sort(key=lambda resource: str(resource["urn"]))
    for resource in found["resources"]:
        for key in ("created", "modified", "dependencies", "propertyDependencies"):  # times, and sets without order
            resource.pop(key, None)
    return json.loads(re.sub(r'"ciphertext": "[^"]*"', '"ciphertext": ""', json.dumps(found)))


@pytest.mark.promise("Using a checkout changes none of its committed files")
def test_the_repository_is_clean_after_all_of_it() -> None:
    """What `up` makes is ignored by git: .venv, .data, .pulumi."""
    ignored = (ROOT / ".gitignore").read_text().split()
    assert {".venv/", ".data/", ".pulumi/"} <= set(ignored)


@pytest.mark.promise("A stack with a name of its own is deployed beside `local`, with data of its own")
def test_a_stack_of_ones_own_has_data_of_its_own(deployed: Checkout) -> None:
    said = deployed.fails("up", "alice")
    assert said.count("error: there is no stack 'alice'") == said.count("error:") == 1
    alice = replace(deployed, stack="alice", extra={"PULUMI_CONFIG_PASSPHRASE": "for other stacks"})
    alice.write_file({"config": {"pgvector:environment": "local"}})
    assert "alice is up: 8 created" in alice.ok("up", "alice")
    deployed.do("INSERT INTO app.tenant (name) VALUES ('of local')")
    url = alice.outputs()["appUrl"]
    with psycopg.connect(url) as app:
        assert app.execute("SELECT count(*) FROM app.tenant").fetchone() == (0,)
    assert (deployed.root / ".data" / "alice" / "18").is_dir()
    assert alice.fails("status", "organization/pgvector/alice", code=0).count("applied") == 3
    assert "8 unchanged" in alice.ok("preview", "organization/pgvector/alice", "--expect-no-changes")
    alice.ok("down", "organization/pgvector/alice", "--delete-data")
    assert not (deployed.root / ".data" / "alice" / "18").exists()
    assert deployed.ask("SELECT name FROM app.tenant") == [("of local",)]
