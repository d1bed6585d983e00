"""Previews on a machine that can reach neither the Docker host nor the database, such as a CI runner.

PGSTACK_OFFLINE=1 requests such a preview. It compares the stack's state with its files only, and says that it checked
nothing else. An offline run must never change anything: an `up` with the variable set is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

from pgvector_stacks.config.environment import ConfigError, Environment
from pgvector_stacks.docker.docker_host import DockerFailed, Endpoint, choose_endpoint

VARIABLE = "PGSTACK_OFFLINE"
WORDS: Mapping[str, bool] = {"": False, "0": False, "false": False, "1": True, "true": True}
# When the Docker plugin is configured, it pings its host even if `disableDockerDaemonCheck` is set. It never pings an
# ssh:// host.
NOT_ASKED = Endpoint("ssh://offline.invalid", VARIABLE)

NOT_LOOKED_AT = (
    "offline: the Docker host is not reachable from here; image, port, disk, memory, volume and the database were not "
    "looked at\n  this is the state of the last `up` compared with the files; `up` looks at everything first"
)
REFUSED = (
    f"{VARIABLE} is for previews: an `up` has to reach the Docker host and the database\n  unset it:  unset {VARIABLE}"
)


def is_offline_requested(environ: Mapping[str, str]) -> bool:
    """Return whether an offline preview is requested. Raises ConfigError if the value is neither yes nor no."""
    value = environ.get(VARIABLE, "")
    if value.lower() not in WORDS:
        raise ConfigError(f"{VARIABLE} = {value!r}: allowed are 1 and 0")
    return WORDS[value.lower()]


def refuse_up(environ: Mapping[str, str]) -> None:
    """Raise ConfigError if the variable requests an offline run."""
    if is_offline_requested(environ):
        raise ConfigError(REFUSED)


def get_endpoint_offline(environment: Environment, environ: Mapping[str, str]) -> Endpoint:
    """Return the stack's Docker host if it is an ssh:// host, so that no change shows; else a host that isn't asked."""
    try:
        found = choose_endpoint(environment.docker_host, environment.docker_context, environ)
    except DockerFailed:  # the context doesn't exist on this machine
        return NOT_ASKED
    return found if found.url.startswith("ssh://") else NOT_ASKED
