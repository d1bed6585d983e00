"""A branch can't have a file of the machine that previews it read as a script: its text would stand in the comment."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgvector_stacks.common.errors import ScriptError
from pgvector_stacks.migrations.scripts.script_files import load, load_verify


@pytest.fixture
def sql(tmp_path: Path) -> Path:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "state.sql").write_text("the passphrase")
    root = tmp_path / "sql"
    (root / "verify").mkdir(parents=True)
    (root / "0001.sql").write_text("select 1")
    return root


@pytest.mark.promise("No link in `sql/` leads out of it")
@pytest.mark.parametrize("place", ["0002.sql", "more", "verify/x.sql", "verify/more", "0002.SQL"])
@pytest.mark.parametrize("absolute", [True, False])
def test_a_link_out_of_the_folder_is_refused_and_not_read(sql: Path, place: str, absolute: bool) -> None:
    target = sql.parent / "secrets" / ("" if place.endswith("more") else "state.sql")
    up = Path(*[".."] * (1 + place.count("/")))
    (sql / place).symlink_to(target if absolute else up / target.relative_to(sql.parent))
    with pytest.raises(ScriptError) as refused:
        load_verify(sql) if place.startswith("verify") else load(sql, ["**/*.sql"])
    assert f"sql/{place} is a link that leads out of sql/\n  put the file itself there" in str(refused.value)
    assert "passphrase" not in str(refused.value)
    with pytest.raises(ScriptError, match="leads out of sql/"):
        load(sql, ["0001.sql"])


def test_a_link_by_way_of_another_is_one_out_of_the_folder(sql: Path) -> None:
    (sql / ".way").symlink_to(sql.parent)
    (sql / "0002.sql").symlink_to(Path(".way") / "secrets" / "state.sql")
    with pytest.raises(ScriptError, match=r"^sql/0002\.sql is a link that leads out of sql/"):
        load(sql, ["0001.sql"])


def test_a_link_within_the_folder_and_what_is_no_script_stay_as_they_are(sql: Path) -> None:
    (sql / "0002.sql").symlink_to("0001.sql")
    (sql / "README.md").symlink_to(sql.parent / "secrets" / "state.sql")
    (sql / ".#0001.sql").symlink_to("me@here.123:456")  # an editor's lock
    assert [found.name for found in load(sql, ["0001.sql", "0002.sql"])] == ["0001.sql", "0002.sql"]


def test_the_folder_itself_may_be_a_link(sql: Path) -> None:
    link = sql.parent / "link"
    link.symlink_to(sql)
    (sql / "0002.sql").symlink_to("0001.sql")
    assert len(load(link, ["000*.sql"])) == 2
