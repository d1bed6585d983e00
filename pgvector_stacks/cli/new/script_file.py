"""`pgstack new NAME`: creates the next script, numbers it, and lists it in the stack files."""

from __future__ import annotations

import io
import re
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.config.environment import DEFAULT_SCRIPTS, NAMESPACE, SQL, STACKS, list_stacks

KEY = f"{NAMESPACE}:scripts"
LONGEST = 60
TEMPLATE = """-- {title}
-- Runs as schema_owner, in one transaction with everything else that is pending. No BEGIN, no COMMIT.
-- A name without a schema goes by the database's search_path, as for the application; `app` gets its rights by itself.
-- What can't run in a transaction (CREATE INDEX CONCURRENTLY) goes into a script headed  -- pgstack: no-transaction

"""


def choose_file_name(title: str, present: set[str]) -> str:
    """Return the file name for a title, with the next number: `add tenant column` → `0004_add_tenant_column.sql`.

    >>> choose_file_name("Add tenant column!", {"init.sql", "0004_x.sql"})
    '0005_add_tenant_column.sql'
    """
    words = re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")[:LONGEST].strip("_")
    if not words:
        raise PgstackError(f"{title!r} has no letter or digit to make a file name of")
    numbers = [int(match[1]) for name in present if (match := re.match(r"(\d+)_", name))]
    return f"{max([len(DEFAULT_SCRIPTS), *numbers]) + 1:04}_{words}.sql"


def append_to_listing(text: str, stack: str, name: str) -> str:
    """Return the stack file's text with `name` appended to its scripts. Comments and order are preserved.

    Raises PgstackError if the file can't be changed safely.
    """
    editor = YAML()
    editor.preserve_quotes = True
    editor.width = 4096
    editor.indent(mapping=2, sequence=4, offset=2)
    where = f"stacks/Pulumi.{stack}.yaml"
    try:
        content = editor.load(text)
        if content is None:
            content = CommentedMap()
        config = content.get("config") or content.setdefault("config", CommentedMap())
        if content["config"] is None:
            content["config"] = config = CommentedMap()
        scripts = config.get(KEY)
    except (YAMLError, AttributeError, TypeError) as error:
        raise PgstackError(f"{where} is not a stack file: {' '.join(str(error).split())[:200]}") from None
    if isinstance(scripts, str):
        raise PgstackError(f"{where}: write {KEY} as a list of one script a line, then try again")
    if isinstance(scripts, list) and scripts:
        scripts.append(name)
    else:
        config[KEY] = [*(DEFAULT_SCRIPTS if scripts is None else scripts), name]
    made = io.StringIO()
    editor.dump(content, made)
    return made.getvalue()


def create_script(title: str, *, sql: Path = SQL, stacks: Path = STACKS) -> str:
    """Write the script and list it in every stack file. Return a message about it. Raises PgstackError."""
    name = choose_file_name(title, {path.name for path in sql.glob("*.sql")})
    files = {stack: stacks / f"Pulumi.{stack}.yaml" for stack in list_stacks(stacks)}
    changed = {
        path: append_to_listing(path.read_text(), stack, name) for stack, path in files.items() if path.is_file()
    }
    (sql / name).write_text(TEMPLATE.format(title=" ".join(title.split()).replace("pgstack:", "pgstack")))
    for path, text in changed.items():
        path.write_text(text)
    return f"sql/{name} is listed last in {', '.join(path.name for path in changed)}; write it, then  pgstack preview"
