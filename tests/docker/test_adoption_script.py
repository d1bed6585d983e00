"""The move of an adoption, killed and failed after each of its steps: half-done it is recognised, and undone.

The product's scripts run as they are, on made-up data directories in one throw-away container. Before them on PATH lie
a `mv` that counts its calls and then kills the script or fails, and a `postgres` and `pg_controldata` that find the
data in order; the real ones are in test_adoption.py.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import docker
import pytest

from pgvector_stacks.common import shell
from pgvector_stacks.docker.docker_host import open_throw_away, put_files, run_to_end
from tests.docker.conftest import PG15

pytestmark = [pytest.mark.docker]

ENTRIES = ("PG_VERSION", "base/1/1249", "global/pg_control", "pg_hba.conf", ".hidden", "with space/file")
STEPS = len({entry.partition("/")[0] for entry in ENTRIES}) + 1  # and the journal's own
MV = """
#!/bin/sh
count=$(($(cat /tmp/count) + 1))
echo "$count" >/tmp/count
if [ "$HOW" = fail ] && [ "$count" -eq "$AT" ]; then echo "mv: no space" >&2; exit 1; fi
if [ "$HOW" = fail-for-good ] && [ "$count" -ge "$AT" ]; then echo "mv: no space" >&2; exit 1; fi
/usr/bin/mv "$@" || exit 1
if [ "$HOW" = kill ] && [ "$count" -eq "$AT" ]; then kill -9 "-$(cat /tmp/script)"; fi
"""
POSTGRES = r"""
#!/bin/sh
case "$*" in *"$FAILS"*) [ -z "$FAILS" ] || { echo "FATAL: no such locale" >&2; exit 1; } ;; esac
if grep -q pg_extension && [ "$FAILS" = extension ]; then
    printf '\t 1: wrong = "vector 0.8.1, the image has 0.5.1"\t(typeid = 25, len = -1, typmod = -1, byval = f)\n'
fi
printf '\t 1: datname = "%s"\t(typeid = 19, len = 64, typmod = -1, byval = f)\n' postgres "shop"
"""
CONTROL = """
#!/bin/sh
[ -f "$2/global/pg_control" ] || exit 1
echo "Database system identifier:           7"
echo "Database cluster state:               shut down"
"""
# what the tests' own shell knows; a script is a process group of its own, which is killed as a container is: whole
DRIVER = """
fresh() {
    rm -rf /dev/shm/volume && mkdir -p "/dev/shm/volume/$PLACE"
    for entry in $ENTRIES; do
        entry=$(echo "$entry" | tr '%' ' ')
        mkdir -p "$(dirname "/dev/shm/volume/$PLACE/$entry")"
        echo "content of $entry" >"/dev/shm/volume/$PLACE/$entry"
    done
    chmod 700 "/dev/shm/volume/$PLACE"
    files "/dev/shm/volume/$PLACE" >/tmp/wanted
}
files() { (cd "$1" && find . -type f ! -path './15/*' | sort | while read -r f; do echo "$f $(cat "$f")"; done); }
run() { # SCRIPT HOW AT: how it ended
    echo 0 >/tmp/count
    code=0
    HOW=$2 AT=$3 PATH=/tmp/before:$PATH setsid sh -ec 'echo $$ >/tmp/script; exec sh -ec "$0"' \\
        "$(cat /tmp/journal.sh "/tmp/$1.sh")" >/tmp/said 2>&1 &
    wait $! || code=$?
    # what was killed with the script may still be ending, and has the lock so long
    lock=/dev/shm/volume/15/pgstack.lock
    if [ "$2" = kill ] && [ -e "$lock" ]; then flock -w 20 "$lock" true; fi
}
whole_at_old() {
    [ ! -e /dev/shm/volume/15/adopting ] && [ ! -e /dev/shm/volume/15/docker ] &&
        [ "$(files "/dev/shm/volume/$PLACE")" = "$(cat /tmp/wanted)" ]
}
whole_at_new() {
    [ ! -e /dev/shm/volume/15/adopting ] && [ "$(files /dev/shm/volume/15/docker)" = "$(cat /tmp/wanted)" ] &&
        [ "$(cd /dev/shm/volume && find . -type f ! -path './15/*')" = "" ]
}
no_server_starts() { # on either side: pg_control or PG_VERSION is missing
    [ ! -e "/dev/shm/volume/$PLACE/global" ] && [ ! -e /dev/shm/volume/15/docker/PG_VERSION ]
}
recognised() { [ -f /dev/shm/volume/15/adopting ]; }
complain() { echo "WRONG after step $at: $*"; cat /tmp/said; cd /dev/shm/volume; find . | sort; exit 1; }
"""

Run = Callable[..., str]


@pytest.fixture
def run(docker_engine: docker.DockerClient, image: Callable[[str], str]) -> Run:
    """Runs a test's shell in a container of the old image and returns what it said."""

    def one(text: str, *, place: str = ".", fails: str = "") -> str:
        environment = {
            "VOLUME": "/dev/shm/volume", "MAJOR": "15", "PLACE": place, "DATABASE": "shop", "FAILS": fails,
            "TOP": str(STEPS),
            "ENTRIES": " ".join(entry.replace(" ", "%") for entry in ENTRIES),
        }  # fmt: skip
        command = ["sh", "-c", "mkdir /tmp/before; cp /tmp/fake-* /tmp/before; cd /tmp/before; "
                   'for file in fake-*; do mv "$file" "${file#fake-}"; done; cd /; exec sh -e /tmp/driver']  # fmt: skip
        with open_throw_away(
            docker_engine, "pgstack-test-script", image(PG15), command, user="postgres", network_mode="none",
            environment=environment,
        ) as container:  # fmt: skip
            scripts = {f"{name}.sh": shell.get(name) for name in ("journal", "adopt", "move_back")}
            fakes = {"fake-mv": MV, "fake-postgres": POSTGRES, "fake-pg_controldata": CONTROL}
            put_files(container, "/tmp", {name: fake.lstrip() for name, fake in fakes.items()}, mode=0o755)
            put_files(container, "/tmp", scripts | {"driver": DRIVER + textwrap.dedent(text)}, mode=0o644)
            done = run_to_end(container)
        assert done.code == 0, done.output
        return done.output

    return one


@pytest.mark.parametrize("place", [".", "data", "pgdata"])
def test_a_move_that_is_let_alone_has_all_of_it_at_the_new_place(run: Run, place: str) -> None:
    run(
        """
        fresh; run adopt let 0
        [ "$code" = 0 ] || complain "code $code"
        whole_at_new || complain "not whole"
        [ "$(cat /tmp/count)" = "$TOP" ] || complain "$(cat /tmp/count) moves"
        run adopt let 0
        [ "$code" = 0 ] && grep -q 'adopted already' /tmp/said && whole_at_new || complain "the second run"
        """,
        place=place,
    )


@pytest.mark.parametrize("place", [".", "data"])
@pytest.mark.parametrize("after", ["adopt", "move_back"])
def test_killed_after_any_step_it_is_recognised_and_the_next_run_makes_it_whole(
    run: Run, place: str, after: str
) -> None:
    said = run(
        f"""
        at=1
        while [ "$at" -le "$TOP" ]; do
            fresh; run adopt kill "$at"
            [ "$code" = 137 ] || complain "it was not killed: $code"
            recognised || complain "no journal"
            if [ "$at" -gt 1 ]; then no_server_starts || [ "$at" = "$TOP" ] || complain "half of it could start"; fi
            run {after} let 0
            [ "$code" = 0 ] || complain "{after} ended with $code"
            {"whole_at_new" if after == "adopt" else "whole_at_old"} || complain "not whole"
            at=$((at + 1)); echo survived
        done
        """,
        place=place,
    )
    assert said.count("survived") == STEPS


def test_killed_again_while_it_is_undone_it_is_still_recognised(run: Run) -> None:
    said = run(
        """
        at=2
        while [ "$at" -le "$TOP" ]; do
            again=1
            while [ "$again" -lt "$at" ]; do
                fresh; run adopt kill "$at"
                run move_back kill "$again"
                [ "$code" = 137 ] && recognised || complain "killed again at $again: $code"
                run move_back let 0
                [ "$code" = 0 ] && whole_at_old || complain "then again at $again: $code"
                again=$((again + 1)); echo survived
            done
            at=$((at + 1))
        done
        """
    )
    assert said.count("survived") == STEPS * (STEPS - 1) // 2


def test_a_step_that_fails_is_undone_at_once(run: Run) -> None:
    run(
        """
        at=1
        while [ "$at" -le "$TOP" ]; do
            fresh; run adopt fail "$at"
            [ "$code" = 1 ] || complain "code $code"
            whole_at_old || { [ "$at" = 1 ] && [ ! -e /dev/shm/volume/15/adopting ]; } || complain "not back"
            if [ "$at" -gt 1 ]; then grep -q 'all is back at its old place' /tmp/said || complain "said nothing"; fi
            at=$((at + 1))
        done
        """
    )


def test_where_the_way_back_fails_too_the_journal_stays_for_the_next_run(run: Run) -> None:
    run(
        """
        at=3
        while [ "$at" -le "$TOP" ]; do
            fresh; run adopt fail-for-good "$at"
            [ "$code" = 1 ] && recognised && grep -q 'so did the way back' /tmp/said || complain "code $code"
            run adopt let 0
            [ "$code" = 0 ] && whole_at_new || complain "the next run: $code"
            at=$((at + 1))
        done
        """
    )


def test_nothing_is_ever_moved_over_something_that_is_there(run: Run) -> None:
    run(
        """
        at=4
        fresh; run adopt kill 4
        mkdir /dev/shm/volume/global && echo new >/dev/shm/volume/global/pg_control  # somebody made it again meanwhile
        run adopt let 0
        [ "$code" = 1 ] && recognised && grep -q 'global is at both places' /tmp/said || complain "code $code"
        [ "$(cat /dev/shm/volume/global/pg_control)" = new ] || complain "it was overwritten"
        """
    )


def test_an_entry_that_is_at_neither_place_is_named_and_nothing_is_forgotten(run: Run) -> None:
    run(
        """
        at=5
        fresh; run adopt kill 5
        rm -r /dev/shm/volume/15/docker/global
        run adopt let 0
        [ "$code" = 1 ] && recognised && grep -q 'global is at neither place' /tmp/said || complain "code $code"
        """
    )


def test_data_on_which_the_server_does_not_start_stays_where_it_is(run: Run) -> None:
    run(
        """
        at=0
        fresh; run adopt let 0
        [ "$code" = 1 ] && whole_at_old && grep -q "doesn't start" /tmp/said || complain "code $code"
        """,
        fails="template1",
    )


def test_another_server_that_holds_the_lock_is_left_alone(run: Run) -> None:
    run(
        """
        at=0
        fresh; mkdir /dev/shm/volume/15
        exec 8>/dev/shm/volume/15/pgstack.lock; flock 8
        run adopt let 0
        [ "$code" = 75 ] && whole_at_old || complain "code $code"
        """
    )


def test_a_database_that_is_not_there_is_named_before_anything_moves(run: Run) -> None:
    run(
        """
        at=0
        fresh; DATABASE=store; export DATABASE; run adopt let 0
        [ "$code" = 1 ] && whole_at_old && grep -q 'no database store among postgres shop' /tmp/said || complain "$code"
        """
    )


def test_an_extension_that_the_image_is_too_old_for_is_named_before_anything_moves(run: Run) -> None:
    run(
        """
        at=0
        fresh; run adopt let 0
        said='database postgres has the extension vector 0.8.1, the image has 0.5.1'
        [ "$code" = 1 ] && whole_at_old && grep -q "$said" /tmp/said || complain "code $code"
        """,
        fails="extension",
    )
