"""`pgstack new NAME`: the next script, numbered and listed, so that nobody forgets the list."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from postgres.errors import PgstackError
from stacks.environment import DEFAULT_SCRIPTS, ENVIRONMENTS, NAMESPACE, SQL, STACKS

TEMPLATE = """-- {title}
-- Runs as schema_owner, in one transaction with everything else that is pending. No BEGIN, no COMMIT.
-- What can't run in a transaction (CREATE INDEX CONCURRENTLY) goes into a script headed  -- pgstack: no-transaction

SET search_path = app, public;

"""


def file_name(title: str, present: set[str]) -> str:
    """`add tenant column` → `0004_add_tenant_column.sql`, numbered behind what is there.

    >>> file_name("Add tenant column!", {"init.sql", "0004_x.sql"})
    '0005_add_tenant_column.sql'
    """
    words = re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")
    if not words:
        raise PgstackError(f"{title!r} has no letter or digit to make a file name of")
    numbers = [int(match[1]) for name in present if (match := re.match(r"(\d+)_", name))]
    return f"{max([len(DEFAULT_SCRIPTS), *numbers]) + 1:04}_{words}.sql"


def listed_in(text: str, stack: str, name: str) -> str:
    """The stack file's text with `name` at the end of its scripts; comments and order of the file are kept."""
    key = f"{NAMESPACE}:scripts"
    content = yaml.safe_load(text) or {}
    scripts = (content.get("config") or {}).get(key)
    entry = f"    - {name}\n"
    if scripts is None:
        lines = text if text.endswith("\n") else text + "\n"
        if "config:" not in lines:
            lines += "config:\n"
        listing = "".join(f"    - {script}\n" for script in DEFAULT_SCRIPTS)
        return re.sub(r"^config:[^\n]*\n", lambda match: f"config:\n  {key}:\n{listing}{entry}", lines, flags=re.M)
    block = re.search(
        rf"^(?P<indent>[ ]+){re.escape(key)}:[ ]*\n(?:(?:[ ]*#[^\n]*|(?P<item>[ ]+)- [^\n]*)\n?)+", text, re.M
    )
    if block is None:
        raise PgstackError(f"stacks/Pulumi.{stack}.yaml: write {key} as a list of one script a line, then try again")
    return f"{text[: block.end()].rstrip()}\n{block['item']}- {name}\n{text[block.end() :]}"


def new_script(title: str, *, sql: Path = SQL, stacks: Path = STACKS) -> str:
    """Write the script and list it in every stack file. Returns what was done. Raises PgstackError."""
    name = file_name(title, {path.name for path in sql.glob("*.sql")})
    files = {stack: stacks / f"Pulumi.{stack}.yaml" for stack in ENVIRONMENTS}
    changed = {path: listed_in(path.read_text(), stack, name) for stack, path in files.items() if path.is_file()}
    (sql / name).write_text(TEMPLATE.format(title=title))
    for path, text in changed.items():
        path.write_text(text)
    return f"sql/{name} is listed last in {', '.join(path.name for path in changed)}; write it, then  pgstack preview"
