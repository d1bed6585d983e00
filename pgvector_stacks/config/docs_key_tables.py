"""Generates the tables of keys in docs/configuration.md from the model. `pgstack schema` writes them between marks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydantic.alias_generators import to_camel

from pgvector_stacks.config.docker_keys import IMAGE, DockerKeys
from pgvector_stacks.config.engines import get_config
from pgvector_stacks.config.environment import DEFAULT_SCRIPTS, DEFAULTS, ENVIRONMENTS, Environment
from pgvector_stacks.config.role_keys import RoleKeys
from pgvector_stacks.config.secret_keys import SecretKeys

NOT_IN_A_FILE = "stack"
DOCKER_ONLY = (*DockerKeys.model_fields, "tls_key")
END = "<!-- end -->"


def write_tables(text: str) -> str:
    """Return the page with each table generated again from the model. Raises ValueError if a mark is missing."""
    for mark, table in _tables().items():
        begin = f"<!-- {mark}: written by `pgstack schema` -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(END)
        if not (found and closed):
            raise ValueError(f"the page lacks {begin} or the {END} after it")
        text = f"{before}{begin}\n\n{table}\n\n{END}{after}"
    return text


def _tables() -> dict[str, str]:
    """Return the tables, by the name in the mark before each."""
    inherited = (*DOCKER_ONLY, *RoleKeys.model_fields, *SecretKeys.model_fields, NOT_IN_A_FILE)
    own = [name for name in Environment.model_fields if name not in inherited]
    return {
        "keys of both engines": _table([*own, *RoleKeys.model_fields, *SecretKeys.model_fields]),
        "keys of the Docker engine": _table(DOCKER_ONLY),
        "longer defaults": "\n".join(_longer_defaults()),
    }


def _longer_defaults() -> Iterator[str]:
    """Yield the defaults for which the tables say "see below"."""
    yield f"- `scripts`: {_as_code(DEFAULT_SCRIPTS)}."
    yield f"- `image`: `{IMAGE}`."
    for stack in ENVIRONMENTS:
        if settings := DEFAULTS[stack].get("settings"):
            yield f"- `settings` of `{stack}`: {_as_code(f'{name} = {value}' for name, value in settings.items())}."


def _as_code(values: Iterable[object]) -> str:
    return ", ".join(f"`{value}`" for value in values)


def _table(names: Iterable[str]) -> str:
    head = f"| key | {' | '.join(ENVIRONMENTS)} | meaning |"
    return "\n".join([head, "|---" * (len(ENVIRONMENTS) + 2) + "|", *map(_row, names)])


def _row(name: str) -> str:
    defaults = " | ".join(_default(name, stack) for stack in ENVIRONMENTS)
    return f"| `{to_camel(name)}` | {defaults} | {Environment.model_fields[name].description} |"


def _default(name: str, stack: str) -> str:
    """Return one cell: "–" if nothing is set, or if the stack's engine doesn't read the key."""
    value = DEFAULTS[stack].get(name, Environment.model_fields[name].get_default())
    reads_docker_keys = get_config(DEFAULTS[stack]["engine"]).is_published
    if value in (None, (), {}) or (name in DOCKER_ONLY and not reads_docker_keys):
        return "–"
    if name in ("image", "settings", "scripts"):
        return "see below"
    if isinstance(value, bool):  # as YAML writes it
        return f"`{str(value).lower()}`"
    return _as_code(value if isinstance(value, tuple) else (value,))
