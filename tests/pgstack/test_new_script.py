"""`pgstack new` writes a script and lists it everywhere, and a stack file stays what people wrote."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pgvector_stacks.cli.new.script_file import append_to_listing, choose_file_name, create_script
from pgvector_stacks.common.errors import PgstackError, ScriptError
from pgvector_stacks.config.environment import DEFAULT_SCRIPTS, ENVIRONMENTS, STACKS
from pgvector_stacks.migrations.scripts.script_files import load

NAME = "0004_add_tenant_column.sql"


def scripts_of(text: str) -> list[str]:
    found: list[str] = yaml.safe_load(text)["config"]["pgvector:scripts"]
    return found


# the name


@pytest.mark.parametrize(
    ("title", "present", "name"),
    [
        ("add tenant column", set(), "0004_add_tenant_column.sql"),
        ("Add  Tenant-Column!", set(DEFAULT_SCRIPTS), "0004_add_tenant_column.sql"),
        ("x", {"0004_x.sql", "0011_y.sql", "init.sql"}, "0012_x.sql"),
        ("x", {"2_y.sql"}, "0004_x.sql"),
        ("x", {"9999_y.sql"}, "10000_x.sql"),
        ("../../etc/passwd", set(), "0004_etc_passwd.sql"),
        ("drop 2 tables; 'now'", set(), "0004_drop_2_tables_now.sql"),
        ("a\nb", set(), "0004_a_b.sql"),
    ],
)
def test_a_script_is_numbered_behind_what_is_there(title: str, present: set[str], name: str) -> None:
    assert choose_file_name(title, present) == name


@pytest.mark.parametrize("title", ["", "  ", "!?", "本番", "\n"])
def test_a_title_without_letter_or_digit_is_refused(title: str) -> None:
    with pytest.raises(PgstackError, match="no letter or digit to make a file name of"):
        choose_file_name(title, set())


@settings(deadline=None)  # other work on the machine is no failure
@given(st.text(), st.sets(st.from_regex(r"[0-9]{1,6}_[a-z]{1,5}\.sql", fullmatch=True)))
def test_a_name_is_new_sorts_last_and_needs_no_quoting(title: str, present: set[str]) -> None:
    assume(re.search("[a-z0-9]", title.lower()))
    name = choose_file_name(title, present)
    assert re.fullmatch(r"[0-9]{4,}_[a-z0-9_]*[a-z0-9]\.sql", name)
    assert name not in present
    assert all(int(name.split("_")[0]) > int(other.split("_")[0]) for other in present)


# the list


def test_a_file_without_a_list_gets_the_default_scripts_and_the_new_one() -> None:
    text = "# ours\nencryptionsalt: v1:abc\nconfig:\n  pgvector:engine: docker  # until the cluster\n"
    listed = append_to_listing(text, "dev", NAME)
    assert scripts_of(listed) == [*DEFAULT_SCRIPTS, NAME]
    assert [line for line in listed.splitlines() if line in text.splitlines()] == text.splitlines()


@pytest.mark.parametrize(
    "text", ["", "config:", "config:\n", "config: {}\n", "encryptionsalt: v1:abc\n", "encryptionsalt: v1:abc"]
)
def test_a_file_without_config_gets_one(text: str) -> None:
    listed = append_to_listing(text, "dev", NAME)
    assert scripts_of(listed) == [*DEFAULT_SCRIPTS, NAME]
    assert yaml.safe_load(listed).get("encryptionsalt") == (yaml.safe_load(text) or {}).get("encryptionsalt")


def test_the_list_of_a_file_is_continued_and_its_comments_stay() -> None:
    text = "config:\n    pgvector:scripts:\n      - a.sql\n      - b.sql # last\n    pgvector:cpus: 2\n"
    listed = append_to_listing(text, "dev", NAME)
    assert scripts_of(listed) == ["a.sql", "b.sql", NAME]
    assert "# last" in listed


def test_the_list_may_be_as_deep_as_its_key_and_the_end_of_the_file() -> None:
    text = "config:\n  pgvector:scripts:\n  - a.sql"
    assert scripts_of(append_to_listing(text, "dev", NAME)) == ["a.sql", NAME]


def test_the_key_in_a_comment_is_no_list() -> None:
    text = "config:\n  # pgvector:scripts:\n  #   - old.sql\n  pgvector:cpus: 2\n"
    assert scripts_of(append_to_listing(text, "dev", NAME)) == [*DEFAULT_SCRIPTS, NAME]


@pytest.mark.parametrize(
    "text",
    [
        "config:\n  pgvector:scripts: [a.sql]\n",
        "config:\n  pgvector:scripts: # in order\n    - a.sql\n",
        "config:\n  pgvector:scripts:\n\n    - a.sql\n\n",
        "config:\n  pgvector:scripts:\n    - >-\n      a.sql\n",
        'config: {"pgvector:scripts": [a.sql]}\n',
    ],
)
def test_a_list_is_continued_however_it_is_written(text: str) -> None:
    assert scripts_of(append_to_listing(text, "dev", NAME)) == ["a.sql", NAME]


@pytest.mark.parametrize(
    "text",
    [
        "", "# config: see docs\n", "config:\n", "config: {}\n", "config:\n  pgvector:scripts:\n",
        "config:  # ours\n    pgvector:engine: docker\n", 'config: {"pgvector:engine": docker}\n',
    ],
)  # fmt: skip
def test_where_nothing_is_listed_the_list_begins_with_the_defaults(text: str) -> None:
    listed = append_to_listing(text, "dev", NAME)
    assert scripts_of(listed) == [*DEFAULT_SCRIPTS, NAME]
    assert ("docker" in listed) == ("docker" in text)
    assert ("# ours" in listed) == ("# ours" in text)


@pytest.mark.parametrize("text", ["- a\n", "config: [a]\n", "a: b: c\n", "config: 5\n"])
def test_what_is_no_stack_file_is_told(text: str) -> None:
    with pytest.raises(PgstackError, match=r"stacks/Pulumi\.dev\.yaml is not a stack file"):
        append_to_listing(text, "dev", NAME)


COMMENT = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "Zs"]), max_size=20).map(
    lambda text: f"# {text}".rstrip()
)
SCRIPT_NAMES = st.lists(st.from_regex(r"[a-z]{1,6}(/\*)?\.sql", fullmatch=True), min_size=1, max_size=6, unique=True)


@st.composite
def stack_file(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A stack file as people write it, comments in every place, and the scripts it lists."""
    names = draw(SCRIPT_NAMES)
    key, item = draw(st.sampled_from([(2, 4), (2, 2), (4, 4), (4, 6)]))
    others = [f"{' ' * key}pgvector:cpus: 2", f"{' ' * key}docker:host: tcp://10.0.0.1"]
    split = draw(st.integers(0, len(others)))
    lines = ["encryptionsalt: v1:abc", "config:", *others[:split], f"{' ' * key}pgvector:scripts:"]
    for name in names:
        if draw(st.booleans()):
            lines.append(" " * item + draw(COMMENT))
        lines.append(f"{' ' * item}- {name}" + ("  " + draw(COMMENT) if draw(st.booleans()) else ""))
    if draw(st.booleans()):
        lines.append(" " * key + draw(COMMENT))
    lines += others[split:]
    if draw(st.booleans()):
        lines.insert(0, draw(COMMENT))
    return "\n".join(lines) + draw(st.sampled_from(["", "\n"])), names


@settings(deadline=None)
@given(stack_file(), st.text(min_size=1))
def test_listing_adds_the_name_at_the_end_and_changes_nothing_else(file: tuple[str, list[str]], title: str) -> None:
    assume(re.search("[a-z0-9]", title.lower()))
    text, names = file
    name = choose_file_name(title, set(names))
    before, after = yaml.safe_load(text), yaml.safe_load(listed := append_to_listing(text, "dev", name))
    assert after["config"].pop("pgvector:scripts") == [*names, name]
    assert before["config"].pop("pgvector:scripts") == names
    assert after == before
    assert [line.split("#", 1)[1] for line in listed.splitlines() if "#" in line] == [
        line.split("#", 1)[1] for line in text.splitlines() if "#" in line
    ]


@settings(deadline=None)
@given(SCRIPT_NAMES)
def test_what_was_listed_from_the_defaults_can_be_continued(names: list[str]) -> None:
    text = "config:\n  pgvector:engine: docker\n"
    for name in names:
        text = append_to_listing(text, "dev", name)
    assert scripts_of(text) == [*DEFAULT_SCRIPTS, *names]


# both


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """`sql` with the default scripts and `stacks` with the committed files, copied."""
    sql, stacks = tmp_path / "sql", tmp_path / "stacks"
    sql.mkdir()
    stacks.mkdir()
    for script in DEFAULT_SCRIPTS:
        (sql / script).write_text("SELECT 1;\n")
    for stack in ENVIRONMENTS:
        file = f"Pulumi.{stack}.yaml"
        (stacks / file).write_text((STACKS / file).read_text())
    return sql, stacks


def test_a_new_script_is_listed_last_in_every_environment(folders: tuple[Path, Path]) -> None:
    sql, stacks = folders
    before = {stack: scripts_listed(stacks, stack) for stack in ENVIRONMENTS}
    said = create_script("Add tenant column", sql=sql, stacks=stacks)
    assert said.startswith(f"sql/{NAME} is listed last in Pulumi.local.yaml, Pulumi.dev.yaml")
    assert said.endswith("write it, then  pgstack preview")
    assert {stack: scripts_listed(stacks, stack) for stack in ENVIRONMENTS} == {
        stack: [*names, NAME] for stack, names in before.items()
    }


def scripts_listed(stacks: Path, stack: str) -> list[str]:
    content = yaml.safe_load((stacks / f"Pulumi.{stack}.yaml").read_text())
    listed: list[str] = content["config"].get("pgvector:scripts", list(DEFAULT_SCRIPTS))
    return listed


def test_a_new_script_must_be_written_before_it_runs(folders: tuple[Path, Path]) -> None:
    sql, stacks = folders
    create_script("x {y} %s", sql=sql, stacks=stacks)
    assert (sql / "0004_x_y_s.sql").read_text().startswith("-- x {y} %s\n-- Runs as schema_owner")
    with pytest.raises(ScriptError, match=r"sql/0004_x_y_s\.sql: holds no statement"):
        load(sql, [*DEFAULT_SCRIPTS, "0004_x_y_s.sql"])


@pytest.mark.parametrize("title", ["a\nDROP TABLE x;", "pgstack: repeatable", "x" * 300])
def test_a_title_is_a_comment_whatever_it_says(folders: tuple[Path, Path], title: str) -> None:
    sql, stacks = folders
    create_script(title, sql=sql, stacks=stacks)
    (path,) = sql.glob("0004_*.sql")
    path.write_text(path.read_text() + "SELECT 1;\n")
    found = load(sql, [*DEFAULT_SCRIPTS, path.name])[-1]
    assert (len(found.statements), found.repeatable) == (1, False)


def test_two_scripts_of_one_title_are_two_scripts(folders: tuple[Path, Path]) -> None:
    sql, stacks = folders
    for _ in range(2):
        create_script("x", sql=sql, stacks=stacks)
    assert scripts_listed(stacks, "dev") == [*DEFAULT_SCRIPTS, "0004_x.sql", "0005_x.sql"]


def test_where_one_file_can_not_be_changed_nothing_is_written(folders: tuple[Path, Path]) -> None:
    sql, stacks = folders
    (stacks / "Pulumi.production.yaml").write_text("config: [init.sql]\n")
    before = {path: path.read_text() for folder in folders for path in folder.iterdir()}
    with pytest.raises(PgstackError, match=r"Pulumi\.production\.yaml"):
        create_script("x", sql=sql, stacks=stacks)
    assert {path: path.read_text() for folder in folders for path in folder.iterdir()} == before


def test_a_missing_stack_file_stays_missing(folders: tuple[Path, Path]) -> None:
    sql, stacks = folders
    (stacks / "Pulumi.test.yaml").unlink()
    assert "Pulumi.test.yaml" not in create_script("x", sql=sql, stacks=stacks)
    assert not (stacks / "Pulumi.test.yaml").exists()
