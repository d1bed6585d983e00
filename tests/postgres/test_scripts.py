"""Which files are scripts, in which order, and what is refused before any server is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgvector_stacks.common.errors import ScriptError
from pgvector_stacks.config.environment import DEFAULT_SCRIPTS, SQL
from pgvector_stacks.migrations.scripts.script_files import load, load_verify, read, revision
from tests.conftest import script


def write(root: Path, **files: str | bytes) -> Path:
    for name, content in files.items():
        path = root / f"{name.replace('__', '/')}.sql"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def test_scripts_come_in_the_listed_order(tmp_path: Path) -> None:
    write(tmp_path, b="select 2", a="select 1")
    assert [found.name for found in load(tmp_path, ["b.sql", "a.sql"])] == ["b.sql", "a.sql"]


def test_a_glob_is_sorted_and_does_not_list_twice(tmp_path: Path) -> None:
    write(tmp_path, m__002="select 2", m__001="select 1", m__003="select 3")
    found = load(tmp_path, ["m/003.sql", "m/*.sql"])
    assert [entry.name for entry in found] == ["m/003.sql", "m/001.sql", "m/002.sql"]


def test_a_glob_may_match_only_what_is_listed_by_name_already(tmp_path: Path) -> None:
    write(tmp_path, m__001="select 1")
    assert [entry.name for entry in load(tmp_path, ["m/001.sql", "m/*.sql"])] == ["m/001.sql"]


def test_every_mistake_is_reported_at_once(tmp_path: Path) -> None:
    write(tmp_path, a="select 1", empty="-- nothing\n;", orphan="select 1", bad=b"select '\xff'")
    with pytest.raises(ScriptError) as refused:
        load(tmp_path, ["a.sql", "a.sql", "mising.sql", "empty.sql", "bad.sql", "x/*.sql", "../up.sql"])
    said = str(refused.value)
    for expected in (
        "'a.sql' is listed twice", "sql/mising.sql does not exist", "sql/empty.sql: holds no statement",
        "no environment lists sql/orphan.sql", "sql/bad.sql:1: not UTF-8 (byte 0xff)", "'x/*.sql' matches no file",
        "'../up.sql' lies outside sql/",
    ):  # fmt: skip
        assert expected in said


def test_a_missing_script_is_told_with_the_nearest_name(tmp_path: Path) -> None:
    write(tmp_path, init="select 1")
    with pytest.raises(ScriptError, match=r'did you mean "init\.sql"'):
        load(tmp_path, ["innit.sql"])


def test_a_renamed_folder_is_told_at_once(tmp_path: Path) -> None:
    """Each suggestion looks at every file: 200 wrong names of 10,000 took 76 s."""
    write(tmp_path, **{f"new__{number:03}": "select 1" for number in range(30)})
    names = [f"old/{number:03}.sql" for number in range(30)]
    with pytest.raises(ScriptError) as refused:
        load(tmp_path, names, listed_elsewhere=names)
    said = str(refused.value)
    assert said.count("did you mean") == 5
    assert said.count("does not exist") == 20
    assert "10 more listed files do not exist below sql/" in said


def test_a_file_only_another_environment_lists_is_no_orphan(tmp_path: Path) -> None:
    write(tmp_path, init="select 1", seed="select 2", verify__x="select 3", queries__y="not sql '")
    assert len(load(tmp_path, ["init.sql"], listed_elsewhere=["seed.sql"])) == 1


def test_a_file_that_nothing_would_run_is_told(tmp_path: Path) -> None:
    write(tmp_path, init="select 1")
    for name in ("0002.SQL", "verify/app/x.Sql", "verify/.old/y.sql", ".hidden.sql", "a/verify/z.psql"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("select 1")
    with pytest.raises(ScriptError, match="nothing runs") as refused:
        load(tmp_path, ["init.sql"])
    for name in ("0002.SQL", "verify/app/x.Sql", "verify/.old/y.sql", ".hidden.sql", "a/verify/z.psql"):
        assert f"sql/{name}" in str(refused.value)


def test_what_nobody_takes_for_a_script_is_no_error(tmp_path: Path) -> None:
    write(tmp_path, init="select 1", queries__y="not sql '")
    names = (
        "README.md",
        "init.sql~",
        "init.sql.bak",
        ".init.sql.swp",
        "._init.sql",
        ".#init.sql",
        "data.csv",
        ".git/x.sql",
    )
    for name in (*names, "queries/z.SQL", "sqlnotes", ".sqlfluff"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text")
    assert [found.name for found in load(tmp_path, ["init.sql"])] == ["init.sql"]


def test_verify_scripts_in_folders_run_too_by_path_and_links_in_circles_end(tmp_path: Path) -> None:
    write(tmp_path, verify__b="select 1", verify__app__x="select 2", verify__a="select 3", elsewhere__y="select 4")
    (tmp_path / "verify" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "verify" / "app" / "up").symlink_to(tmp_path / "verify")
    assert len(load(tmp_path, ["elsewhere/y.sql"])) == 1
    names = [found.name for found in load_verify(tmp_path)]
    assert names == ["verify/a.sql", "verify/app/x.sql", "verify/b.sql", "verify/linked/y.sql"]


@pytest.mark.parametrize("header", ["no-transaction", "repeatable"])
def test_a_verify_script_has_no_header_that_takes_it_out_of_its_transaction(tmp_path: Path, header: str) -> None:
    write(tmp_path, verify__a=f"-- pgstack: {header}\ncreate table x ()")
    with pytest.raises(ScriptError, match=r"sql/verify/a\.sql: a verify script is undone as a whole"):
        load_verify(tmp_path)


@pytest.mark.parametrize("break_", ["\n", "\r", "\x1b", "\x85", "\u2028"])
def test_a_file_name_that_forges_lines_is_refused(tmp_path: Path, break_: str) -> None:
    write(tmp_path, a="select 1")
    (tmp_path / f"b (new){break_}Resources: 8 unchanged.sql").write_text("select 1")
    with pytest.raises(ScriptError) as refused:
        load(tmp_path, ["*.sql"])
    assert str(refused.value).count("\n") == 1
    assert "rename the file" in str(refused.value)


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252"])
def test_the_encoding_to_convert_from_is_the_files_own(tmp_path: Path, encoding: str) -> None:
    write(tmp_path, a="select 'ü'".encode(encoding))
    with pytest.raises(ScriptError, match=f"iconv -f {'UTF-16' if encoding == 'utf-16' else 'WINDOWS-1252'} -t UTF-8"):
        load(tmp_path, ["a.sql"])


@pytest.mark.promise("White space, comments and line ends are no change of a script")
def test_a_bom_and_crlf_are_no_change(tmp_path: Path) -> None:
    write(tmp_path, unix="select 1,\n 2;\n", windows=b"\xef\xbb\xbfselect 1,\r\n 2;\r\n")
    unix, windows = read(tmp_path, "unix.sql"), read(tmp_path, "windows.sql")
    assert unix.normalised == windows.normalised
    assert unix.sha256 != windows.sha256
    assert "\r" not in windows.text


@pytest.mark.parametrize(
    ("text", "place", "advice"),
    [
        ("select 1;\n  \\i other.sql", "sql/0004_test.sql:2:3: \\i is a command of psql", "a script of its own"),
        ("\\copy t from 'x'", "1:1: \\copy", "from the application"),
        ("select 1 \\gexec", "1:10: \\gexec", "write it as SQL"),
        ("COPY t (a) FROM stdin;\n1\n\\.\n", "1:1: COPY … FROM stdin", "pg_dump --inserts"),
        ("COPY t (a) FROM stdin;\n1\tit's\n\\N\n\\.\n", "1:1: COPY … FROM stdin", "pg_dump --inserts"),
        ('select 1;\ncopy t\n from stdin with (format csv);\n5a,$x$,/* "\n\\.\n', "2:1: COPY …", "--inserts"),
        ("\\echo it's here\nselect 1;", "1:1: \\echo is a command of psql", "write it as SQL"),
        ("select 1;\ncommit;", "2:1: COMMIT inside a script", "no-transaction"),
        ("BEGIN; select 1; END", "1:1: BEGIN", "no-transaction"),
        ("START TRANSACTION", "1:1: START", "remove it"),
        ("prepare transaction 'x'", "1:1: PREPARE", "remove it"),
        ("-- pgstack: repeatible\nselect 1", "unknown header 'repeatible'", 'did you mean "repeatable"'),
        ("-- pgstack: no-transaction, statement-timeout 5min\nselect 1", "'no-transaction,'", '"no-transaction"'),
        ("-- pgstack: no_transaction\nselect 1", "'no_transaction'", 'did you mean "no-transaction"'),
        ("-- pgstack: repeatable statement-timeout 5min\nselect 1", "1:1: repeatable takes no value", "its own"),
        ("/* pgstack: no-transaction */ select 1", "1:1: a header is written so", "-- pgstack: no-transaction"),
        ("-- x\n-- Pgstack : repeatable\nselect 1", "2:1: a header is written so", "-- pgstack: no-transaction"),
        (
            "select '\n-- pgstack: no-transaction\n';\n  -- pgstack: repeatable",
            "4:3: a header belongs at the top",
            "before",
        ),
        ("-- pgstack: statement-timeout soon\nselect 1", "'soon' is no duration", "30min"),
        ("-- pgstack: repeatable\n-- pgstack: no-transaction\nselect 1", "exclude each other", "keep one"),
        ("select 'never closed", "1:8: unterminated quoted string", "close the string"),
        ("select 1;\x00", "a NUL byte", "UTF-8"),
    ],
)
def test_what_could_not_land_whole_is_refused_with_its_line(text: str, place: str, advice: str) -> None:
    with pytest.raises(ScriptError) as refused:
        script(text)
    assert place in str(refused.value)
    assert advice in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "select 'COMMIT'", "create procedure p() language sql begin atomic select 1; end", "do $$ begin commit; end $$",
        "prepare q as select 1", "copy t from '/file'", "select E'\\\\i'", "comment on table t is 'a \\ b'",
        "-- see pgstack.ledger\nselect '\n-- pgstack: repeatable\n\\\\echo'",
        "select $$\n-- pgstack: no-transaction\n$$ -- pgstack: x",
    ],
)  # fmt: skip
def test_what_only_looks_like_it_is_not_refused(text: str) -> None:
    assert script(text).name


def test_a_no_transaction_script_may_control_transactions() -> None:
    assert script("-- pgstack: no-transaction\nbegin; select 1; commit;").no_transaction


def test_the_lines_pg_dump_writes_for_psql_are_no_obstacle() -> None:
    one = script("\\restrict abc\nselect 1;\n\\unrestrict abc\n")
    other = script("\\restrict def\nselect 1;\n\\unrestrict def\n")
    assert one.normalised == other.normalised
    assert one.text.count("\n") == 3


def test_headers_are_read_from_the_leading_comments_only() -> None:
    found = script("-- title\n-- pgstack: statement-timeout 90s\nselect 1; -- pgstack: repeatable")
    assert found.statement_timeout_s == 90.0
    assert not found.repeatable


def test_the_revision_depends_on_names_order_and_content() -> None:
    one, other = ("a.sql", "1"), ("b.sql", "2")
    found = {revision(rows) for rows in ([], [one], [one, other], [other, one], [one, ("b.sql", "3")])}
    assert len(found) == 5
    assert revision([]) == "empty"


def test_the_scripts_of_this_repository_are_right() -> None:
    assert [found.name for found in load(SQL, DEFAULT_SCRIPTS, listed_elsewhere=["**/*.sql"])] == list(DEFAULT_SCRIPTS)
    assert load_verify(SQL)


def test_what_is_remembered_of_a_script_is_what_reading_it_again_finds(tmp_path: Path) -> None:
    text = "-- pgstack: repeatable\n-- pgstack: statement-timeout 2min\r\nselect 1;"
    write(tmp_path, a="select 1", b=text, c=f"\ufeff{text}")
    cache, names = tmp_path / "cache" / "scripts.json", ["a.sql", "b.sql", "c.sql"]
    first = load(tmp_path, names, cache=cache)
    assert load(tmp_path, names, cache=cache) == first == load(tmp_path, names)
    assert "select" not in cache.read_text()
    write(tmp_path, a="select 2")
    assert load(tmp_path, names, cache=cache) == load(tmp_path, names) != first


@pytest.mark.parametrize("damaged", ["", "[]", "{", '{"format": "0"}', '{"format": 1, "facts": 2}'])
def test_a_damaged_memory_is_no_obstacle(tmp_path: Path, damaged: str) -> None:
    write(tmp_path, a="select 1")
    cache = tmp_path / "scripts.json"
    cache.write_text(damaged)
    assert load(tmp_path, ["a.sql"], cache=cache) == load(tmp_path, ["a.sql"])


@pytest.mark.promise("The hash of a script never changes with a release")
def test_the_hash_of_a_script_is_a_storage_format() -> None:
    """The ledgers hold it: if this fails, every script ever applied would look edited."""
    found = script("-- c\nSELECT 'a  b', $x$ y $x$ /* c */ FROM t WHERE n = 1.50;\n")
    assert found.normalised == "bf36e94ebe8b54dd3214ba04559f9f221074b076465538c48519c6eeb479a263"
