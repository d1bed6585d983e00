"""The typed and validated form of a `Pulumi.<stack>.yaml`, and the defaults of each stack.

A stack file contains only what differs from the defaults. All mistakes in it are reported at once, before anything is
created: the key, the stack, the value, what is allowed, the nearest correct spelling.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, ConfigDict, Field, SecretStr, ValidationError, ValidationInfo
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from pgvector_stacks.backup.daily.schedule import Schedule
from pgvector_stacks.common.errors import ConfigError as ConfigError
from pgvector_stacks.common.errors import SettingRefused, suggest_nearest
from pgvector_stacks.common.image_names import MAJORS
from pgvector_stacks.config.defaults import DEFAULTS as DEFAULTS
from pgvector_stacks.config.defaults import ENVIRONMENTS as ENVIRONMENTS
from pgvector_stacks.config.defaults import EnvironmentName
from pgvector_stacks.config.docker_keys import DockerKeys
from pgvector_stacks.config.engines import REGISTRY, get_config
from pgvector_stacks.config.role_keys import RoleKeys
from pgvector_stacks.config.secret_keys import SecretKeys
from pgvector_stacks.config.stack_names import choose_environment, parse_name
from pgvector_stacks.connections.role_limits import RoleLimits
from pgvector_stacks.connections.role_limits import derive_role_limits as derive_role_limits
from pgvector_stacks.sizing.budget import TunedServer, tune_for_container
from pgvector_stacks.sizing.settings import Durability, Limits
from pgvector_stacks.upgrade.decision import Method, Reindex

NAMESPACE = "pgvector"
STACKS = Path(__file__).parents[2] / "stacks"
ROOT = STACKS.parent
SQL = ROOT / "sql"
SCRIPT_CACHE = ROOT / ".data" / "scripts.json"
DEFAULT_SCRIPTS = ("init.sql", "integration_upgrade.sql", "install_pgvector.sql")
DAY_S = 86400.0
# libyaml, where PyYAML was built with it, reads a list of 10,000 scripts ten times as fast
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
SECRETS = ("adminPassword", "appPassword", "readonlyPassword", "tlsKey", "backupKey")


def _own_database(value: str) -> str:
    if value in ("postgres", "template0", "template1"):
        raise ValueError("belongs to PostgreSQL itself; choose another name")
    return value


def _registered(value: str) -> str:
    if value not in REGISTRY:
        allowed = " or ".join(f"'{name}'" for name in REGISTRY)
        raise PydanticCustomError("literal_error", "Input should be {expected}", {"expected": allowed})
    return value


def _version_of_the_engine(value: int | None, info: ValidationInfo) -> int | None:
    """Refuse a version that the engine doesn't have, or that contradicts the image."""
    if "engine" in info.data:
        get_config(info.data["engine"]).major(value, info.data.get("image", ""))
    return value


def _both_or_none(value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
    if (value is None) != (info.data.get("tls_certificate") is None):
        raise ValueError("tlsCertificate and tlsKey belong together: set both or none")
    return value


def _ssh_folder(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"ssh://([^@/\s:]+@)?[^@/\s:-][^@/\s:]*(:\d+)?/\S*[^/\s]", value):
        raise ValueError("as ssh://USER@HOST/PATH, without a password and with the folder's absolute path")
    return value


def _by_a_container(value: Schedule | None, info: ValidationInfo) -> Schedule | None:
    """Refuse scheduled backups if the engine has none, or if `backupCopy` is set: scheduled backups aren't copied."""
    lacks = get_config(info.data["engine"]).lacks.get("schedule", "") if "engine" in info.data else ""
    if not lacks and info.data.get("backup_copy") is not None:
        lacks = "a scheduled backup isn't copied to pgvector:backupCopy: let cron run `pgstack backup create STACK`"
    if value is not None and lacks:
        raise ValueError(lacks.replace("STACK", info.data.get("stack", "STACK")))
    return value


Identifier = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,62}$")]


class Environment(RoleKeys, SecretKeys, DockerKeys):
    """The configuration of one stack. Unknown keys are errors. Keys in the stack files are camelCase: `memoryMb`."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, allow_inf_nan=False)

    stack: str = Field(exclude=True, description="The stack's name; not a key of the stack file.")
    environment: EnvironmentName = Field(
        description="Decides the defaults of a stack with a name of its own; left out: the stack's name."
    )
    engine: Annotated[str, AfterValidator(_registered)] = Field(
        description="What runs the server: `embedded` (a PostgreSQL from PyPI on this machine) or `docker`.",
        json_schema_extra={"enum": list(REGISTRY)},
    )
    postgres_version: Annotated[int | None, AfterValidator(_version_of_the_engine)] = Field(
        default=None,
        validate_default=True,
        description="Major version of PostgreSQL; an image whose name tells it needs no such key. Embedded: 16 or 18.",
        json_schema_extra={"enum": list(MAJORS)},
    )
    memory_mb: int = Field(ge=256, le=1 << 20, description="Memory the server may use, in MiB.")
    cpus: float = Field(ge=0.25, le=512, description="Processors the server may use; 0.5 is half of one.")
    port: int | None = Field(
        default=None,
        ge=1024,
        le=65535,
        description="Port on the host; embedded, left out: a free one is chosen and kept.",
    )
    database: Annotated[Identifier, AfterValidator(_own_database)] = Field(
        default="app", description="The database the scripts and the application use."
    )
    scripts: tuple[str, ...] = Field(
        default=DEFAULT_SCRIPTS, min_length=1, description="SQL scripts below sql/ in their order; globs allowed."
    )
    baseline: tuple[str, ...] = Field(
        default=(),
        description="Scripts whose objects the database already has: checked against it, then recorded as applied.",
    )
    extensions: tuple[Identifier, ...] = Field(
        default=(), description="Extensions besides vector, created by the administrator before the scripts run."
    )
    pgvector_minimum: str = Field(
        pattern=r"^\d+\.\d+(\.\d+)?$", description="Validation fails below this version of pgvector (in quotes)."
    )
    accepted_recall: tuple[str, ...] = Field(
        default=(),
        description="Vector indexes, as `schema.name`, that may find fewer neighbours than the exact scan finds.",
    )
    drift: Literal["report", "refuse"] = Field(
        description="What a hand-made change of the schema does: shown in the preview, or `up` refuses."
    )
    statement_timeout_s: float = Field(
        ge=0,
        le=DAY_S,
        description="Seconds a statement of a script may take; 0: no limit. A script's header may say otherwise.",
    )
    lock_timeout_s: float = Field(
        gt=0, le=DAY_S, description="Seconds a statement waits for a lock before all is rolled back and tried again."
    )
    lock_wait_s: float = Field(ge=0, le=DAY_S, description="Seconds to go on trying for locks before `up` gives up.")
    durability: Durability = Field(
        default="safe", description="`none` turns fsync off: only where the data may vanish."
    )
    upgrade_method: Method | None = Field(
        default=None,
        description="How an upgrade to another major version is done; left out: the least downtime with a way back.",
    )
    upgrade_backup: bool = Field(
        default=True, description="An upgrade makes a backup before, which is restored once as a trial, and one after."
    )
    upgrade_reindex: Reindex = Field(
        default="before",
        description="On a change of the C library text indexes are rebuilt `before` the server opens, or `after`.",
    )
    drill_max_age_h: float = Field(
        default=24, ge=0, le=10000, description="Hours for which a good drill replaces that backup; 0: drill always."
    )
    backup_directory: str | None = Field(
        default=None,
        min_length=1,
        description="Folder on this machine for backups, one below it a stack; left out: `.data/backups`.",
    )
    backup_copy: Annotated[str | None, AfterValidator(_ssh_folder)] = Field(
        default=None,
        description="Folder on another host for encrypted copies of backups: `ssh://USER@HOST[:PORT]/PATH`.",
    )
    backup_keep: int = Field(
        ge=1, le=10000, description="Backups kept; the last whose drill was good stays in any case."
    )
    backup: Annotated[Schedule | None, AfterValidator(_by_a_container)] = Field(
        default=None, description='A backup a day by itself: `{at: "02:00", keep: 14}`, UTC; docs/backup.md.'
    )
    tls_key: Annotated[SecretStr | None, AfterValidator(_both_or_none)] = Field(
        default=None, validate_default=True, description="Secret; the PEM key of tlsCertificate."
    )

    @property
    def limits(self) -> Limits:
        return Limits(self.memory_mb, self.cpus)

    @property
    def tuned(self) -> TunedServer:
        """The Docker engine's settings, /dev/shm and memory budget. Raises SettingRefused."""
        return tune_for_container(self.limits, self.durability, format_settings(self.settings))

    @property
    def tuned_within_memory(self) -> TunedServer:
        """Like `tuned`, but raises SettingRefused, whose text has the table, if the budget exceeds memoryMb."""
        tuned = self.tuned
        if not tuned.budget.fits:
            raise SettingRefused(
                f"stack {self.stack}: the settings don't fit into {NAMESPACE}:memoryMb\n{tuned.budget.table()}"
            )
        return tuned

    @property
    def role_limits(self) -> RoleLimits:
        """Limits of `app` and `readonly` on connections, temporary files, idle transactions. Raises SettingRefused."""
        settings = self.server_settings
        kept = (settings.get("superuser_reserved_connections", "3"), settings.get("reserved_connections", "0"))
        return derive_role_limits(
            int(settings.get("max_connections", "100")), self.memory_mb, reserved=sum(map(int, kept)),
            scheduled=self.backup is not None, app=self.app_connections, readonly=self.readonly_connections,
            temporary_mb=self.temp_file_limit_mb,
            idle_in_transaction_s=self.idle_in_transaction_s,
        )  # fmt: skip

    @property
    def major(self) -> int:
        """PostgreSQL's major version."""
        return get_config(self.engine).major(self.postgres_version, self.image)

    @property
    def server_settings(self) -> Mapping[str, str]:
        """The settings that the engine starts the server with. Raises SettingRefused."""
        return get_config(self.engine).settings(self.limits, self.durability, format_settings(self.settings))

    @property
    def demands_tls(self) -> bool:
        """True if the server refuses TCP connections without TLS."""
        return get_config(self.engine).is_published and self.tls == "require"

    @property
    def name(self) -> str:
        """The name of the container, its network and, unless another volume is adopted, its volume."""
        return self.container_name or f"{NAMESPACE}-{self.stack}"

    @property
    def backups(self) -> Path:
        """The folder of this stack's backups."""
        return get_backups_folder(self.backup_directory, self.stack)

    @property
    def backups_kept(self) -> int:
        """How many backups are kept, manual or scheduled: two different numbers for one folder would conflict."""
        return self.backup.keep if self.backup and self.backup.keep else self.backup_keep

    @property
    def volume_name(self) -> str:
        """The name of the volume that holds the data."""
        return self.adopt_volume or self.name


def get_backups_folder(directory: str | None, stack: str) -> Path:
    """Return the folder of a stack's backups on this machine. `directory`: as in the stack file."""
    return (ROOT / Path(directory or ".data/backups").expanduser() / stack).resolve()


def format_settings(settings: Mapping[str, Any]) -> dict[str, str]:
    """Format the values for postgresql.conf: YAML's true becomes `on`."""
    words = {True: "on", False: "off"}
    return {name: words[value] if isinstance(value, bool) else str(value) for name, value in settings.items()}


def from_config(stack: str, config: Mapping[str, Any], *, secret: frozenset[str] = frozenset()) -> Environment:
    """Return the environment of `stack` from its keys without the namespace. Values are strings, or of YAML's types.

    `stack`: may begin with its organisation and project. `secret`: the keys that are encrypted in the stack file.
    Raises ConfigError with all mistakes.
    """
    stack = parse_name(stack)
    given = "[secret]" if "environment" in secret else config.get("environment")
    defaults = DEFAULTS[choose_environment(stack, given, list_stacks())]
    keys = {field.alias or name: name for name, field in Environment.model_fields.items() if name != "stack"}
    problems = [
        _unknown(stack, key, "[secret]" if key in secret else config[key], keys) for key in config if key not in keys
    ]
    problems += [
        f"stack {stack}: {NAMESPACE}:{key} is in the stack file in plain text\n"
        f"  encrypt it:  pulumi config set --stack {stack} --secret {NAMESPACE}:{key}"
        for key in SECRETS
        if key in config and key not in secret
    ]
    problems += [
        f"stack {stack}: {NAMESPACE}:{key} is encrypted in the stack file, but it is no secret: the state has it in"
        f" plain text\n  write it in plain text:  pulumi config set --stack {stack} --plaintext {NAMESPACE}:{key} …"
        for key in sorted(secret.intersection(keys).difference(SECRETS))
    ]
    values: dict[str, Any] = {"stack": stack}
    values |= {to_camel(name): value for name, value in defaults.items()}
    given = {key: _structured(keys[key], value) for key, value in config.items() if key in keys}
    if isinstance(given.get("settings"), dict):  # defaults remain, unless the file overrides them one by one
        given["settings"] = values.get("settings", {}) | given["settings"]
    values |= given
    try:
        environment = Environment.model_validate(values)
    except ValidationError as error:
        problems += [_explain(stack, dict(mistake), secret) for mistake in error.errors()]
    if problems:
        raise ConfigError("\n".join(problems))
    return environment


def check_name(stack: str) -> None:
    """Raise ConfigError if the name isn't allowed, or if there is no such stack."""
    read_environment_name(stack)


def read_environment_name(stack: str) -> str:
    """Return which of ENVIRONMENTS the stack belongs to, from its name or its file. Raises ConfigError."""
    name = parse_name(stack)
    return choose_environment(name, read_stack_file(name).get("environment"), list_stacks())


def list_stacks(stacks: Path | None = None) -> tuple[str, ...]:
    """Return the stacks that may be deployed: those named like an environment, then the others that have a file."""
    found = (
        file.name.removeprefix("Pulumi.").removesuffix(".yaml") for file in (stacks or STACKS).glob("Pulumi.?*.yaml")
    )
    return (*ENVIRONMENTS, *sorted(set(found) - set(ENVIRONMENTS)))


def from_file(stack: str) -> Environment:
    """Return the environment from its stack file, without secrets. Raises ConfigError."""
    name = parse_name(stack)
    return from_config(name, {key: value for key, value in read_stack_file(name).items() if key not in SECRETS})


def list_all_scripts() -> tuple[str, ...]:
    """Return the scripts that any stack lists, so that a file used by only one isn't reported as unlisted."""
    entries = list(DEFAULT_SCRIPTS)
    for stack in list_stacks():
        listed = _structured("scripts", read_stack_file(stack).get("scripts", []))
        entries += [entry for entry in listed if isinstance(entry, str)] if isinstance(listed, list) else []
    return tuple(dict.fromkeys(entries))


def read_content(stack: str) -> dict[str, Any]:
    """Return the whole content of a stack file, with Pulumi's own keys; {} without a file. Raises ConfigError."""
    path = STACKS / f"Pulumi.{stack}.yaml"
    if not path.is_file():
        return {}
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER) or {}
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"stacks/{path.name} is not YAML: {' '.join(str(error).split())[:300]}") from None
    if not isinstance(content, dict) or not isinstance(content.get("config") or {}, dict):
        raise ConfigError(f"stacks/{path.name}: `config:` is a map of keys like {NAMESPACE}:memoryMb")
    return content


def read_stack_file(stack: str) -> dict[str, Any]:
    """Return our keys of a stack file without the namespace; none without a file. Raises ConfigError."""
    config = read_content(stack).get("config") or {}
    return {str(key).removeprefix(f"{NAMESPACE}:"): value for key, value in config.items() if _ours(str(key))}


def _ours(key: str) -> bool:
    """Return True for a key in our namespace or in none."""
    return key.startswith(f"{NAMESPACE}:") or ":" not in key


def _structured(field: str, value: Any) -> Any:
    """Parse a value from Pulumi, which passes lists and maps as JSON text and everything else as a string."""
    kind = str(Environment.model_fields[field].annotation)
    if isinstance(value, str) and (kind.startswith(("tuple", "dict")) or field == "backup"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _unknown(stack: str, key: str, value: Any, allowed: Mapping[str, str]) -> str:
    return (
        f"stack {stack}: unknown key {NAMESPACE}:{key} (value {str(value)[:60]!r}){suggest_nearest(key, allowed)}\n"
        f"  allowed: {', '.join(allowed)}"
    )


def _explain(stack: str, mistake: dict[str, Any], secret: frozenset[str]) -> str:
    key, *inside = mistake["loc"]
    field = next(field for name, field in Environment.model_fields.items() if field.alias == key or name == key)
    where = f"{NAMESPACE}:{field.alias}" + "".join(f"[{part}]" for part in inside)
    if field.alias in secret.union(SECRETS):  # Pulumi masks only whole values
        return f"stack {stack}: {where}: {mistake['msg'].removeprefix('Value error, ')}"
    value, guess = mistake.get("input"), ""
    if expected := mistake.get("ctx", {}).get("expected"):
        guess = suggest_nearest(
            str(value), [word.strip(" '") for word in str(expected).replace(" or ", ",").split(",")]
        )
    return (
        f"stack {stack}: {where} = {repr(value)[:80]}: {mistake['msg'].removeprefix('Value error, ')}{guess}\n"
        f"  {field.description}"
    )
