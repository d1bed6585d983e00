"""Compares the new server with the old one during the downtime, so quickly: names and sizes of all relations, the first
rows of each table, sequences, counts of other objects, and one query to each vector index.

`pgstack upgrade verify` compares every row, and so do the tests.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from psycopg import sql

from pgvector_stacks.common import queries
from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.toolbox.interface import ServerConnection, Toolbox, execute_sql, query_rows

SAMPLE_ROWS = 100
# Values have the same text on both servers, whatever their settings are.
SESSION_SETTINGS = (
    "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; SET bytea_output = 'hex';"
)
FUNCTIONS = f"""
CREATE FUNCTION pg_temp.pgstack_sample(t regclass) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(pg_temp.pgstack_answer(t, format(
        'SELECT md5(string_agg(r::text, chr(10))) FROM (SELECT * FROM ONLY %s LIMIT {SAMPLE_ROWS}) AS r', t)), 'empty')
$$;
CREATE FUNCTION pg_temp.pgstack_count(t regclass) RETURNS bigint LANGUAGE sql AS $$
    SELECT pg_temp.pgstack_answer(t, format('SELECT count(*)::text FROM ONLY %s', t))::bigint
$$;
"""
Fingerprint = Mapping[str, str]


def take_fingerprint(
    toolbox: Toolbox, server: ServerConnection, databases: Iterable[str], *, exact: bool
) -> Fingerprint:
    """Return a description of each object by its name, as `app: table public.t`. Raises ServerError."""
    query = queries.get("upgrade_fingerprint").replace("{exact}", "true" if exact else "false")
    found: dict[str, str] = {}
    for database in databases:
        first = f"{SESSION_SETTINGS}{queries.get('as_owner')}{FUNCTIONS}"
        asked = query_rows(toolbox, server, database, query, first=first, last=queries.get("as_owner_end"))
        found |= {f"{database}: {row['what']}": str(row["how"]) for row in asked}
    return found


def describe_differences(before: Fingerprint, after: Fingerprint) -> list[str]:
    """Return the differences as lines of text; empty if the fingerprints are equal. Pure."""
    found = []
    for what in sorted(before.keys() | after.keys()):
        was, now = before.get(what, "not there"), after.get(what, "not there")
        if was != now:
            found.append(f"{what}: {was} → {now}")
    return found


def check_equal(before: Fingerprint, after: Fingerprint) -> None:
    """Raise ServerError with the differences, if there are any."""
    if found := describe_differences(before, after):
        shown = "\n".join(f"    {line}" for line in found[:10])
        raise ServerError(f"the new server's data is not the old one's: {len(found)} differences\n{shown}")


def check_vector_indexes(toolbox: Toolbox, server: ServerConnection, databases: Iterable[str]) -> int:
    """Query each vector index for the row nearest to the first row of its table, and return how many were queried.

    Raises ServerError if the planner doesn't use the index, or the found row is farther away than a random row. The
    index needn't find the row itself: among vectors of equal distance, such as random ones, a correct HNSW index can
    miss it.
    """
    asked = 0
    for database in databases:
        if not query_rows(toolbox, server, database, "SELECT 1 FROM pg_extension WHERE extname = 'vector'"):
            continue
        for index in query_rows(toolbox, server, database, queries.get("vector_indexes")):
            asked += _check_vector_index(toolbox, server, database, index)
    return asked


def _check_vector_index(toolbox: Toolbox, server: ServerConnection, database: str, index: Mapping[str, str]) -> int:
    expression, table = index["expression"], index["table"]
    operator = index["operator"]
    where = f"WHERE ({index['predicate']})" if index["predicate"] else f"WHERE {expression} IS NOT NULL"
    defined = f"AND {expression} {operator} {expression} <> 'NaN'"  # the cosine distance of a zero vector is NaN
    sample = f"(SELECT {expression} FROM {table} {where} {defined} LIMIT 1)"
    distance = f"{expression} {operator} {sample}"
    select = f"SELECT {distance} AS d FROM {table} {where} ORDER BY {distance} LIMIT 1"
    others = f"SELECT {distance} AS d FROM {table} {where} {defined} LIMIT {SAMPLE_ROWS}"
    at_random = f"SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY d) AS d FROM ({others}) AS others"
    question = queries.get("upgrade_index_owner").replace("{oid}", str(int(index["index_oid"])))
    (of,) = query_rows(toolbox, server, database, question)
    owner = "" if of["plain"] else str(of["owner"])
    try:
        (middle,) = _query_json(toolbox, server, database, _as_json(at_random), "", owner)
        if owner and middle["d"] is None:
            return 0  # row-level security hides all rows from the owner
        session = "LOAD 'vector'; SET enable_seqscan = off; SET enable_indexscan = on;"
        session += " SET hnsw.ef_search = 200; SET ivfflat.probes = 100;"
        (plan,) = _query_json(toolbox, server, database, f"EXPLAIN (FORMAT JSON) {select}", session, owner)
        near = _query_json(toolbox, server, database, _as_json(select), session, owner)
    except ServerError as error:
        if owner and "permission denied" in str(error):
            return 0  # nobody but the owner may run the owner's code
        raise
    said = json.dumps(plan, ensure_ascii=False, indent=0)
    if f'"Index Name": {json.dumps(index["name"], ensure_ascii=False)}' not in said:
        used = [line.strip() for line in said.splitlines() if '"Index Name"' in line or '"Node Type"' in line]
        raise ServerError(f"database {database}: the planner doesn't use the vector index {index['index']}: {used}")
    if middle["d"] is None:
        return 0
    if not near or not near[0]["d"] <= middle["d"] + 1e-6:
        raise ServerError(
            f"database {database}: {index['index']} finds {json.dumps(near)} where a row at random is at {middle['d']}"
        )
    return 1


def _as_json(query: str) -> str:
    return f"SELECT row_to_json(found) FROM ({query}) AS found"


def _query_json(
    toolbox: Toolbox, server: ServerConnection, database: str, query: str, session: str, owner: str
) -> list[Any]:
    """Return the JSON values of a query. `owner`: the role that runs it, quoted for SQL; "" for the connection's."""
    asked = query
    if owner:
        literal = sql.Literal(query).as_string(None)
        asked = queries.get("upgrade_ask_as_owner").replace("{owner}", owner).replace("{query}", literal)
    said = execute_sql(toolbox, server, database, session or "SELECT", then=[asked])
    return _parse_json_values(said)


def _parse_json_values(text: str) -> list[Any]:
    """Parse concatenated JSON values."""
    found, decoder, rest = [], json.JSONDecoder(), text.strip()
    while rest:
        value, end = decoder.raw_decode(rest)
        found.append(value)
        rest = rest[end:].strip()
    return found
