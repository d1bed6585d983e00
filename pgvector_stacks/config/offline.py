"""A preview from where neither the Docker host nor the database can be reached, as a runner of pull requests may be.

PGSTACK_OFFLINE=1 asks for it. Each part then looks at nothing outside and says so; what is compared is the stack's
state with its files. Nothing may ever be changed that way: an `up` with the variable set is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

from pgvector_stacks.config.environment import ConfigError, Environment
from pgvector_stacks.docker.docker_host import DockerFailed, Endpoint, choose_endpoint

VARIABLE = "PGSTACK_OFFLINE"
WORDS: Mapping[str, bool] = {"": False, "0": False, "false": False, "1": True, "true": True}
# The plugin pings a host when it is configured, whatever `disableDockerDaemonCheck` says, but none behind ssh.
NOT_ASKED = Endpoint("ssh://offline.invalid", VARIABLE)

NOT_LOOKED_AT = (
    "offline: the Docker host is not reachable from here; image, port, disk, memory, volume and the database were not "
    "looked at\n  this is the state of the last `up` compared with the files; `up` looks at everything first"
)
REFUSED = (
    f"{VARIABLE} is for previews: an `up` has to reach the Docker host and the database\n  unset it:  unset {VARIABLE}"
)


def requested(environ: Mapping[str, str]) -> bool:
    """Raises ConfigError for a value that is neither yes nor no."""
    value = environ.get(VARIABLE, "")
    if value.lower() not in WORDS:
        raise ConfigError(f"{VARIABLE} = {value!r}: allowed are 1 and 0")
    return WORDS[value.lower()]


def refuse_up(environ: Mapping[str, str]) -> None:
    """Raises ConfigError where the variable is set."""
    if requested(environ):
        raise ConfigError(REFUSED)


def endpoint_not_asked(environment: Environment, environ: Mapping[str, str]) -> Endpoint:
    """The environment's own engine where it is behind ssh, so that nothing seems to change; else one nobody asks."""
    try:
        found = choose_endpoint(environment.docker_host, environment.docker_context, environ)
    except DockerFailed:  # a context that this machine lacks
        return NOT_ASKED
    return found if found.url.startswith("ssh://") else NOT_ASKED
