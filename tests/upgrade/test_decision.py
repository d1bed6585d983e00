"""The decisions, over many made-up servers: no server is needed to know what would be done."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.upgrade import decision
from pgvector_stacks.upgrade.decision import MARGIN_BYTES, METHODS, Method, choose_method, find_refusals, needed_bytes
from pgvector_stacks.upgrade.facts import DatabaseFacts, Disk, SourceServer, TargetVersion
from pgvector_stacks.upgrade.journal import Journal, next_step

SOURCE = SourceServer(
    version_num=160014, checksums=True, wal_level="replica", wal_senders=10, wal_segment_bytes=2**24,
    superuser="postgres", standby_settings={}, preload="", written={}, altered={}, data_bytes=10**9, prepared=(),
    logical_slots=(), subscriptions=(), tablespaces=(), closed_databases=(), encoding="UTF8", collate="C.UTF-8",
    ctype="C.UTF-8", databases={"app": DatabaseFacts(extensions={"vector": "0.8.1"})},
)  # fmt: skip
TARGET = TargetVersion(18, 4, {"vector": "0.8.5", "plpgsql": "1.0"})
PLENTY = Disk(10**13)
names = st.lists(st.text("abc_", min_size=1, max_size=5), max_size=3)


@st.composite
def sources(draw: st.DrawFn) -> SourceServer:
    databases = draw(
        st.dictionaries(
            st.text("abc", min_size=1, max_size=3),
            st.builds(DatabaseFacts, reg_columns=names, unlogged=names),
            max_size=3,
        )
    )
    return replace(
        SOURCE, wal_level=draw(st.sampled_from(["minimal", "replica", "logical"])),
        wal_senders=draw(st.integers(0, 10)), data_bytes=draw(st.integers(0, 10**13)), databases=databases,
    )  # fmt: skip


disks = st.builds(Disk, st.integers(0, 10**14), st.booleans())


@pytest.mark.promise("No method that gives up the way back is chosen unasked")
@given(sources(), disks)
def test_nobody_is_chosen_a_method_that_gives_up_the_way_back_or_does_not_fit(source: SourceServer, disk: Disk) -> None:
    try:
        choice = choose_method(source, disk, None)
    except ServerError:
        assert disk.free_bytes < needed_bytes(source, "copy")
        return
    assert choice.rollback
    assert choice.method in ("standby", "clone", "copy")
    assert choice.needs_bytes <= disk.free_bytes
    assert choice.method != "clone" or disk.reflink
    if choice.method == "standby":
        assert not source.all("unlogged")
        assert source.wal_level != "minimal"
    else:
        assert choice.why.startswith("not standby: ")


@given(sources(), disks, st.sampled_from(METHODS))
def test_a_wanted_method_is_taken_or_refused_but_never_replaced(
    source: SourceServer, disk: Disk, wanted: Method
) -> None:
    try:
        choice = choose_method(source, disk, wanted)
    except ServerError:
        with pytest.raises(ServerError, match=rf"^pgvector:upgradeMethod = {wanted}: "):
            choose_method(source, disk, wanted)
        return
    assert choice.method == wanted
    assert choice.needs_bytes <= disk.free_bytes
    assert decision.describe_choice(source, TARGET, choice).startswith("upgrades PostgreSQL 16.14 → 18.4")


@given(sources(), st.sampled_from(METHODS))
def test_more_space_is_never_worse(source: SourceServer, wanted: Method) -> None:
    enough = Disk(needed_bytes(source, wanted))
    with_more = Disk(enough.free_bytes + 10**12)
    try:
        choose_method(source, enough, wanted)
    except ServerError as error:
        with pytest.raises(ServerError, match=str(error).split(":")[1].strip().split(" ")[0]):
            choose_method(source, with_more, wanted)
    else:
        assert choose_method(source, with_more, wanted).method == wanted


def test_too_little_space_is_refused_with_what_there_is() -> None:
    with pytest.raises(ServerError, match=r"it needs 1\.5 GB free, there are 900 MB") as error:
        choose_method(SOURCE, Disk(900 * 10**6), None)
    assert "pgvector:upgradeMethod: link" in str(error.value)
    assert choose_method(SOURCE, Disk(MARGIN_BYTES), "link").method == "link"
    assert choose_method(SOURCE, Disk(900 * 10**6, reflink=True), None).method == "clone"


REFUSED: list[tuple[dict[str, Any], TargetVersion, str]] = [
    ({}, TargetVersion(15), "16 → 15 is a downgrade"),
    ({}, TargetVersion(18, 3, TARGET.extensions), "18.3 was released before 16.14"),
    ({"prepared": ["g in app"]}, TARGET, "prepared transactions are open: g in app"),
    ({"logical_slots": ["s"]}, TARGET, "logical replication slots: s"),
    ({"subscriptions": ["s"]}, TARGET, "subscriptions: s: they would arrive disabled"),
    ({"tablespaces": ["fast"]}, TARGET, "tablespaces: fast"),
    ({"closed_databases": ["c"]}, TARGET, "databases that take no connections: c"),
    ({"databases": {"d": DatabaseFacts(reg_columns=["t.c"])}}, TARGET, "d: t.c"),
    ({"databases": {"d": DatabaseFacts(acting_domains=["e (lo_export)"])}}, TARGET, "d: e (lo_export)"),
    (
        {"databases": {"d": DatabaseFacts(extensions={"postgis": "3"})}},
        TARGET,
        "the extension postgis 3, PostgreSQL 18.4",
    ),
    (
        {"databases": {"d": DatabaseFacts(extensions={"vector": "0.9.0"})}},
        TARGET,
        "pgvector 0.9.0, PostgreSQL 18.4 comes",
    ),
]


@pytest.mark.parametrize(("change", "target", "said"), REFUSED)
def test_what_is_refused_is_named_with_a_remedy(change: dict[str, Any], target: TargetVersion, said: str) -> None:
    (reason,) = find_refusals(replace(SOURCE, **change), target)
    assert said in reason
    assert "\n  " in reason


def test_the_announced_downtime_counts_the_relations() -> None:
    many = replace(SOURCE, databases={"app": DatabaseFacts(relations=9000), "b": DatabaseFacts(relations=6000)})
    for source, said in ((SOURCE, "(standby: about 5 s of downtime)"), (many, "(standby: about 26 s of downtime)")):
        assert said in decision.describe_choice(source, TARGET, choose_method(source, PLENTY, None))


def test_nothing_speaks_against_an_ordinary_server() -> None:
    assert find_refusals(SOURCE, TARGET) == []
    assert choose_method(SOURCE, PLENTY, None) == decision.Choice("standby", "", 10**9 + MARGIN_BYTES)


# the journal

checkpoints = st.sampled_from(["", "a", "b", "?"])
journals = st.none() | st.builds(
    Journal, old=st.just(16), new=st.just(18), method=st.sampled_from(METHODS), irreversible=st.booleans(),
    verified=st.booleans(), old_checkpoint=st.sampled_from(["", "a"]), new_checkpoint=st.just("a"),
)  # fmt: skip


@given(journals, checkpoints, st.sampled_from(["", "a", "b"]), st.booleans())
def test_no_data_that_somebody_wrote_is_ever_thrown_away(
    journal: Journal | None, old: str, new: str, unfinished: bool
) -> None:
    """To start over removes the new directory, finished or not; to go on forgets the old one."""
    try:
        step = next_step(journal, old_checkpoint=old, new_checkpoint=new, unfinished=unfinished)
    except ServerError:
        assert new  # only where there are two directories is there a question
        return
    if step == "start over":
        assert not new or (journal is not None and journal.verified and new == journal.new_checkpoint)
        assert not (unfinished and not new and journal is not None and journal.irreversible)
    elif step == "go on":
        assert journal is not None
        assert journal.verified
        assert new
        assert old in ("", journal.old_checkpoint)
    else:
        assert journal is not None
        assert journal.irreversible
        assert unfinished


@given(journals, st.sampled_from(["a", "b"]))
def test_a_new_directory_that_no_upgrade_verified_is_the_operators(journal: Journal | None, new: str) -> None:
    if journal is None or not journal.verified:
        with pytest.raises(ServerError, match="that no upgrade made"):
            next_step(journal, old_checkpoint="a", new_checkpoint=new)


@given(journals)
def test_a_journal_is_read_as_it_was_written(journal: Journal | None) -> None:
    if journal is not None:
        assert Journal.model_validate_json(journal.model_dump_json()) == journal
