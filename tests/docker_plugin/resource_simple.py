"""RemoteImage, Volume and Network on a Docker Engine: create, read, delete. Each raises Refused.

`read` gives the fields that the real plugin reads back; what it leaves alone isn't in the result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import docker
from docker.errors import APIError, NotFound

from tests.docker_plugin.daemon import said
from tests.docker_plugin.fields import Values
from tests.docker_plugin.inputs import Refused

# The real plugin waits this long before it looks whether a volume or a network is gone, and to be sure it is there.
SETTLE_S = 2.0
REMOVE_TIMEOUT_S = 30.0
RETRY_S = 5.0


def labels_to(labels: list[Values]) -> dict[str, str]:
    return {str(one["label"]): str(one["value"]) for one in labels}


def labels_from(labels: Mapping[str, str] | None) -> list[Values]:
    return [{"label": name, "value": value} for name, value in sorted((labels or {}).items())]


# images


def create_image(client: docker.APIClient, wanted: Values) -> str:
    name = wanted["name"]
    try:
        find_image(client, name, wanted.get("platform"))
    except Refused as refused:
        raise Refused(f"Unable to read Docker image into resource: {refused}") from None
    return f"{client.inspect_image(name)['Id']}{name}"


def find_image(client: docker.APIClient, name: str, platform: str | None = None) -> None:
    """The image is there, or is pulled. Raises Refused."""
    if not name:
        raise Refused("empty image name is not allowed")
    try:
        client.inspect_image(name)
        return
    except NotFound:
        pass
    try:
        client.pull(name, platform=platform or None)
        client.inspect_image(name)
    except NotFound as error:
        raise Refused(f"unable to pull image {name}: error pulling image {name}: {said(error)}") from None
    except APIError as error:
        raise Refused(f"unable to pull image {name}: error pulling image {name}: {said(error)}") from None


def read_image(client: docker.APIClient, identity: str, state: Values) -> tuple[str, Values] | None:
    name = state.get("name") or identity[len("sha256:") + 64 :]
    try:
        found = client.inspect_image(name)
    except NotFound:
        return None
    digest = repo_digest(name, found.get("RepoDigests") or [])
    return found["Id"] + name, {"name": name, "imageId": found["Id"], "repoDigest": digest}


def repo_digest(name: str, digests: list[str]) -> str:
    """The digest of the name's own repository, else any."""
    repository = name.split(":", 1)[0]
    return next((one for one in digests if len(digests) == 1 or one.startswith(repository)), [*digests, ""][0])


def delete_image(client: docker.APIClient, _: str, state: Values) -> None:
    if state.get("keepLocally"):
        return
    try:
        client.inspect_image(state["name"])
        client.remove_image(state["name"], force=bool(state.get("forceRemove")))
    except NotFound:
        return
    except APIError as error:
        raise Refused(f"Unable to remove Docker image: {said(error)}") from None


# volumes


def create_volume(client: docker.APIClient, wanted: Values) -> str:
    try:
        made = client.create_volume(
            name=wanted.get("name"),
            driver=wanted.get("driver") or None,
            driver_opts=wanted.get("driverOpts") or None,
            labels=labels_to(wanted["labels"]) or None,
        )
    except APIError as error:
        raise Refused(f"Unable to create volume: {said(error)}") from None
    return str(made["Name"])


def read_volume(client: docker.APIClient, identity: str, _: Values) -> tuple[str, Values] | None:
    try:
        found = client.inspect_volume(identity)
    except NotFound:
        return None
    except APIError as error:
        raise Refused(f"Unable to inspect volume: {said(error)}") from None
    return identity, {
        "name": found["Name"],
        "labels": labels_from(found.get("Labels")),
        "driver": found["Driver"],
        "driverOpts": found.get("Options") or {},
        "mountpoint": found["Mountpoint"],
    }


def delete_volume(client: docker.APIClient, identity: str, _: Values) -> None:
    _remove(lambda: client.remove_volume(identity, force=True), "volume is in use", "in_use")


# networks


def create_network(client: docker.APIClient, wanted: Values) -> str:
    ipam: dict[str, Any] = {"Driver": wanted["ipamDriver"]}
    if wanted.get("ipamOptions"):
        ipam["Options"] = wanted["ipamOptions"]
    if isinstance(wanted.get("ipamConfigs"), list) and wanted["ipamConfigs"]:
        ipam["Config"] = [
            {
                "Subnet": one["subnet"],
                "IPRange": one["ipRange"],
                "Gateway": one["gateway"],
                "AuxiliaryAddresses": one["auxAddress"] or {},
            }
            for one in wanted["ipamConfigs"]
        ]
    try:
        made = client.create_network(
            wanted["name"],
            driver=wanted.get("driver") or None,
            options=wanted.get("options") or None,
            ipam=ipam,
            internal=bool(wanted.get("internal")),
            labels=labels_to(wanted["labels"]) or None,
            enable_ipv6=bool(wanted.get("ipv6")),
            attachable=wanted.get("attachable") or None,
            ingress=wanted.get("ingress") or None,
            check_duplicate=True,
        )
    except APIError as error:
        raise Refused(f"Unable to create network: {said(error)}") from None
    return str(made["Id"])


def read_network(client: docker.APIClient, identity: str, _: Values) -> tuple[str, Values] | None:
    time.sleep(SETTLE_S)
    try:
        found = client.inspect_network(identity)
    except APIError:
        return None
    return identity, {
        "name": found["Name"],
        "labels": labels_from(found.get("Labels")),
        "driver": found["Driver"],
        "internal": found["Internal"],
        "attachable": found["Attachable"],
        "ingress": found["Ingress"],
        "ipv6": found["EnableIPv6"],
        "ipamDriver": found["IPAM"]["Driver"],
        "ipamOptions": found["IPAM"].get("Options") or {},
        "scope": found["Scope"],
        "options": found.get("Options") or {},
        "ipamConfigs": [
            {
                "subnet": one.get("Subnet", ""),
                "ipRange": one.get("IPRange", ""),
                "gateway": one.get("Gateway", ""),
                "auxAddress": one.get("AuxiliaryAddresses") or {},
            }
            for one in found["IPAM"].get("Config") or []
        ],
    }


def delete_network(client: docker.APIClient, identity: str, _: Values) -> None:
    _remove(lambda: client.remove_network(identity), "has active endpoints", "pending")


def _remove(remove: Callable[[], Any], busy: str, pending: str) -> None:
    """Try until it goes, for half a minute, as long as it is only still in use."""
    deadline = time.monotonic() + REMOVE_TIMEOUT_S
    time.sleep(SETTLE_S)
    while True:
        try:
            remove()
            return
        except NotFound:
            return
        except APIError as error:
            if busy not in said(error):
                raise Refused(said(error)) from None
        if time.monotonic() + RETRY_S > deadline:
            raise Refused(
                f"timeout while waiting for state to become 'removed' (last state: '{pending}', timeout: 30s)"
            )
        time.sleep(RETRY_S)
