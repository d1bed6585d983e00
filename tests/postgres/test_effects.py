"""What a script can't do, by its words."""

from __future__ import annotations

import pytest

from pgvector_stacks.migrations.scripts import effects


@pytest.mark.parametrize(
    ("text", "noisy"),
    [
        ("create table grants (id int)", False),
        ("insert into note values ('x') on conflict do nothing", False),
        ("do $$ begin end $$", True),
        ("create trigger t before insert on a execute function f()", False),
        ("execute f", True),
        ("drop table a; alter table b add c int; comment on table b is 'x'", False),
        ("with x as (table a) insert into b", True),
        ("alter table a owner to b", True),
    ],
)
def test_words_tell_what_a_script_may_do(text: str, noisy: bool) -> None:
    assert effects.is_noisy(text) is noisy
