"""One stack is one environment: load it, declare its database, export what the application's deployment reads."""

import pulumi
from pulumi.runtime.config import CONFIG  # no public way lists the keys; unknown ones are errors

from components.database import Database
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.config.environment import NAMESPACE, from_config

try:
    keys = {key.split(":", 1)[1]: key for key in CONFIG.get() if key.startswith(f"{NAMESPACE}:")}
    secret = frozenset(key for key, full in keys.items() if pulumi.runtime.is_config_secret(full))
    environment = from_config(
        pulumi.get_stack(), {key: CONFIG.get()[full] for key, full in keys.items()}, secret=secret
    )
    for name, value in Database(environment).outputs().items():
        pulumi.export(name, value)
except PgstackError as error:
    raise pulumi.RunError(str(error)) from None
