"""The command line's promises that need no deployment: exit codes, one message, never a traceback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgvector_stacks.cli import app
from pgvector_stacks.cli.outputs.formats import FORMATS
from pgvector_stacks.config.environment import ROOT, SQL, STACKS
from pgvector_stacks.config.json_schema import build_json_schema
from tests.own_project import COMMITTED

CHECKOUT = Path(__file__).parents[2]
OF_A_STACK = ("up", "preview", "down", "outputs", "status", "verify", "doctor", "env", "logs", "reset")
COMMANDS = (
    *OF_A_STACK,
    "psql",
    "accept",
    "backup",
    "upgrade",
    "plan-memory",
    "schema",
    "new",
    "new-stack",
    "test-connection",
    "pulumi",
)


@dataclass(frozen=True)
class Ran:
    code: object
    out: str
    err: str


class CommandLine:
    """`pgstack` in this process: what it exits with and what it prints. Any other exception is a traceback."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *arguments: str) -> Ran:
        self.monkeypatch.setattr(sys, "argv", ["pgstack", *arguments])
        with pytest.raises(SystemExit) as left:
            app.main()
        out, err = self.capsys.readouterr()
        return Ran(left.value.code, out, err)


@pytest.fixture
def pgstack(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(monkeypatch, capsys)


def installed(*arguments: str, cwd: Path = CHECKOUT) -> subprocess.CompletedProcess[str]:
    """The command as it is installed, in a process of its own."""
    program = Path(sys.executable).with_name("pgstack")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, cwd=cwd)


# help


def test_help_lists_every_command_and_the_exit_codes(pgstack: CommandLine) -> None:
    ran = pgstack("--help")
    assert (ran.code, ran.err) == (0, "")
    assert "Exit codes: 0 done, 1 failed or refused, 2 works" in ran.out
    listed = [line.split()[0] for line in ran.out.split("Commands:\n")[1].splitlines() if line.strip()]
    assert sorted(listed) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_it_does_and_all_it_takes(pgstack: CommandLine, command: str) -> None:
    ran = pgstack(command, "--help")
    assert (ran.code, ran.err) == (0, "")
    usage, does = ran.out.split("\n\n")[:2]
    assert f"pgstack {command} " in usage
    assert does.strip()


def test_stacks_are_named_where_one_is_asked_for(pgstack: CommandLine) -> None:
    for command in OF_A_STACK:
        told = " ".join(pgstack(command, "--help").out.split())
        assert "One of local, dev, test, staging, production, or another that has a file." in told


def test_the_versions_of_the_package_and_of_pulumi_are_printed(pgstack: CommandLine) -> None:
    ran = pgstack("--version")
    assert (ran.code, ran.err) == (0, "")
    first, second = ran.out.splitlines()
    assert first == f"pgstack {tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']['version']}"
    assert re.fullmatch(r"Pulumi \d+\.\d+\.\d+\S*|Pulumi is not here yet: the first `up` gets it", second)


def test_without_a_command_the_help_is_shown() -> None:
    ran = installed()
    assert ran.returncode == 0
    assert "Usage: pgstack [OPTIONS] COMMAND" in ran.stdout


# refusals


@pytest.mark.parametrize("arguments", [*((command,) for command in OF_A_STACK), ("pulumi",), ("accept",)])
def test_an_unknown_stack_is_refused_with_the_nearest_before_anything_is_fetched(
    pgstack: CommandLine, arguments: tuple[str, ...]
) -> None:
    more = ("table", "app.document") if arguments == ("accept",) else ()
    ran = pgstack(*arguments, "prodution", *more)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == (
        "error: there is no stack 'prodution'; did you mean \"production\"?\n"
        "  stacks: local, dev, test, staging, production\n"
        "  to have one of this name, set pgvector:environment in stacks/Pulumi.prodution.yaml:"
        "  pgstack new-stack prodution --environment ENVIRONMENT\n"
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["upp"], "No such command 'upp'"),
        (["up", "--delete-data"], "No such option: --delete-data"),
        (["--stack", "dev"], "No such option: --stack"),
        (["down", "local", "--delete-data=yes"], "does not take a value"),
        (["outputs", "local", "--format"], "requires an argument"),
        (["accept", "local", "table"], "Missing argument 'identity'"),
        (["new"], "Missing argument 'name'"),
        (["schema", "local"], "unexpected extra argument(s) (local)"),
        (["outputs", "local", "appUrl", "host"], "unexpected extra argument(s) (host)"),
    ],
)
def test_a_wrong_call_is_refused_with_where_to_look(pgstack: CommandLine, arguments: list[str], told: str) -> None:
    ran = pgstack(*arguments)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("error: ")
    assert told in ran.err
    assert ran.err.endswith("\n  pgstack --help\n")


def test_a_wrong_format_is_told_with_those_allowed(pgstack: CommandLine) -> None:
    ran = pgstack("outputs", "local", "--format", "yaml")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == f"error: --format yaml: allowed are {', '.join(FORMATS)}\n"


def test_a_script_without_a_name_is_not_made(pgstack: CommandLine) -> None:
    before = sorted(SQL.iterdir())
    ran = pgstack("new", "?!")
    assert (ran.code, ran.err) == (1, "error: '?!' has no letter or digit to make a file name of\n")
    assert sorted(SQL.iterdir()) == before


def test_markup_in_a_message_is_printed_as_it_is(pgstack: CommandLine) -> None:
    assert "'[red]x[/red]' is not a name for a stack" in pgstack("status", "[red]x[/red]").err


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(OF_A_STACK), st.lists(st.text(max_size=8), max_size=3))
def test_whatever_follows_a_command_it_is_help_or_one_refusal(
    pgstack: CommandLine, command: str, more: list[str]
) -> None:
    ran = pgstack(command, "prodution", *more)
    assert ran.code in (0, 1)
    assert (ran.code == 1) == ran.err.startswith("error: ")
    assert "Traceback" not in ran.out + ran.err


# completion


def complete(line: str) -> list[str]:
    """What bash is offered after this line."""
    words = line.split(" ")
    asked = {"_PGSTACK_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    program = Path(sys.executable).with_name("pgstack")
    ran = subprocess.run([program], capture_output=True, text=True, check=True, env=os.environ | asked)
    return ran.stdout.split()


def test_the_shell_completes_commands_and_stacks_that_have_a_file() -> None:
    assert complete("pgstack dow") == ["down"]
    assert sorted(complete("pgstack down ")) == sorted(file.stem.split(".")[1] for file in STACKS.glob("Pulumi.*.yaml"))
    assert complete("pgstack backup drill st") == ["staging"]
    assert complete("pgstack test-connection pro") == ["production"]


# the schema


def test_the_committed_schema_is_that_of_the_model() -> None:
    assert (COMMITTED / "schema.json").read_text() == json.dumps(
        build_json_schema(), indent=2, ensure_ascii=False
    ) + "\n", "run  pgstack schema  and commit stacks/schema.json"


def test_schema_writes_the_schema_and_says_where(
    pgstack: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stacks, page = tmp_path / "stacks", tmp_path / "docs" / "configuration.md"
    stacks.mkdir()
    monkeypatch.setattr(app, "STACKS", stacks)
    ran = pgstack("schema")
    assert (ran.code, ran.out, ran.err) == (0, f"{stacks}/schema.json\n", "")
    assert json.loads((stacks / "schema.json").read_text()) == build_json_schema()
    assert [path.name for path in tmp_path.rglob("*")] == ["stacks", "schema.json"]
    page.parent.mkdir()
    written = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    page.write_text(written.replace("| `port` |", "| `pork` |"), encoding="utf-8")
    assert pgstack("schema").out == f"{stacks}/schema.json\n{page}\n"
    assert page.read_text(encoding="utf-8") == written


# as it is installed


def test_the_installed_command_works_from_any_directory(tmp_path: Path) -> None:
    ran = installed("status", "prodution", cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("error: there is no stack 'prodution'; did you mean \"production\"?\n")


def test_python_dash_m_is_the_same_command() -> None:
    command = [sys.executable, "-m", "pgvector_stacks.cli", "outputs", "prodution"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=CHECKOUT)
    assert ran.returncode == 1
    assert ran.stderr == installed("outputs", "prodution").stderr
