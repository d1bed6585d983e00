"""A Container on a Docker Engine: create, read, update, delete. Each raises Refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import docker
from docker.errors import APIError, NotFound

from tests.docker_plugin import container_spec
from tests.docker_plugin.container_spec import MB
from tests.docker_plugin.daemon import said
from tests.docker_plugin.fields import Values
from tests.docker_plugin.inputs import Refused
from tests.docker_plugin.resource_simple import find_image

LOOK_AGAIN_S = 1.0
UNHEALTHY = "container failed to be in healthy state"
NO_HEALTHCHECK = (
    "you have supplied a 'wait' argument, but the container does not have a healthcheck defined. "
    "Please remove the 'wait' argument or add a 'healthcheck' attribute"
)
# A change of one of these is passed on to the running container, all others at once.
IN_PLACE = (
    "restart", "maxRetryCount", "cpuShares", "memory", "memoryReservation", "cpuSet", "memorySwap",
    "deviceReadBps", "deviceReadIops", "deviceWriteBps", "deviceWriteIops",
)  # fmt: skip
Answer = TypeVar("Answer")


def _ask(what: str, call: Callable[[], Answer]) -> Answer:
    try:
        return call()
    except APIError as error:
        raise Refused(f"{what}: {said(error)}") from None


def create(client: docker.APIClient, wanted: Values) -> str:
    """The container exists from here on, whatever `finish` says."""
    try:
        find_image(client, wanted["image"])
    except Refused as refused:
        raise Refused(f"Unable to create container with image {wanted['image']}: {refused}") from None
    body = container_spec.config(wanted, client.api_version)
    made = _ask(
        "Unable to create container",
        lambda: client.create_container_from_config(body, wanted["name"], _platform(wanted)),
    )
    return str(made["Id"])


def _platform(wanted: Values) -> str | None:
    platform = wanted.get("platform")
    return platform if isinstance(platform, str) and "/" in platform else None


def finish(client: docker.APIClient, identity: str, wanted: Values) -> Values:
    """Connect, fill and start it, and wait as long as is asked for. The result: outputs that only this knows."""
    if wanted["networksAdvanced"]:
        _connect(client, identity, wanted["networksAdvanced"])
    for upload in wanted["uploads"]:
        content = container_spec.archive(upload)
        _ask("Unable to upload volume content", lambda c=content: client.put_archive(identity, "/", c))  # type: ignore[misc]
    if wanted["start"]:
        _ask("Unable to start container", lambda: client.start(identity))
        if wanted["wait"]:
            _wait_until_healthy(client, identity, wanted["waitTimeout"])
    if not wanted["attach"]:
        return {}
    client.wait(identity)
    return {"containerLogs": client.logs(identity).decode(errors="replace")} if wanted["logs"] else {}


def _connect(client: docker.APIClient, identity: str, networks: list[Values]) -> None:
    try:
        client.disconnect_container_from_network(identity, "bridge")
    except APIError as error:
        if "is not connected to the network bridge" not in said(error):
            raise Refused(f"Unable to disconnect the default network: {said(error)}") from None
    for network in networks:
        name = network["name"]
        body = {"Container": identity, "EndpointConfig": container_spec.endpoint(network)}

        def connect(name: str = name, body: Values = body) -> None:
            client._raise_for_status(client._post_json(client._url("/networks/{0}/connect", name), data=body))

        _ask(f"Unable to connect to network '{name}'", connect)


def _wait_until_healthy(client: docker.APIClient, identity: str, timeout_s: int) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        health = client.inspect_container(identity)["State"].get("Health")
        if health is None:
            raise Refused(NO_HEALTHCHECK)
        if health["Status"] == "healthy":
            return
        if time.monotonic() + LOOK_AGAIN_S > deadline:
            time.sleep(max(0.0, deadline - time.monotonic()))
            raise Refused(UNHEALTHY)
        time.sleep(LOOK_AGAIN_S)


def read(client: docker.APIClient, identity: str, state: Values) -> tuple[str, Values] | None:
    """What the real plugin reads back; volumes, envs, labels, uploads and networksAdvanced it leaves as they were."""
    try:
        found = client.inspect_container(identity)
    except NotFound:
        return None
    return identity, observed(found, state)


def observed(found: Any, state: Values) -> Values:
    """The fields of an inspected container."""
    host, config, status = found["HostConfig"], found["Config"], found["State"]
    seen: Values = {
        "bridge": found["NetworkSettings"].get("Bridge", ""),
        "networkDatas": [_network_data(name, one) for name, one in found["NetworkSettings"]["Networks"].items()],
        "name": found["Name"].lstrip("/"),
        "rm": host["AutoRemove"],
        "readOnly": host["ReadonlyRootfs"],
        "image": found["Image"] if str(state.get("image")).startswith("sha256:") else config["Image"],
        "hostname": config["Hostname"],
        "domainname": config["Domainname"],
        "command": config.get("Cmd") or [],
        "entrypoints": config.get("Entrypoint") or [],
        "user": config["User"],
        "dns": sorted(host.get("Dns") or []),
        "dnsOpts": sorted(host.get("DnsOptions") or []),
        "dnsSearches": sorted(host.get("DnsSearch") or []),
        "securityOpts": sorted(host.get("SecurityOpt") or []),
        "publishAllPorts": host["PublishAllPorts"],
        "restart": host["RestartPolicy"]["Name"],
        "maxRetryCount": host["RestartPolicy"]["MaximumRetryCount"],
        "init": bool(host.get("Init")),
        "workingDir": config["WorkingDir"],
        "runtime": host["Runtime"],
        "platform": found["Platform"],
        "mounts": [_mount(one) for one in host.get("Mounts") or []],
        "tmpfs": host.get("Tmpfs") or {},
        "hosts": [{"host": one.split(":")[0], "ip": one.split(":")[1]} for one in host.get("ExtraHosts") or []],
        "privileged": host["Privileged"],
        "memory": host["Memory"] // MB,
        "memoryReservation": host["MemoryReservation"] // MB,
        "memorySwap": host["MemorySwap"] // MB if host["MemorySwap"] > 0 else host["MemorySwap"],
        "shmSize": host["ShmSize"] // MB,
        "cpuShares": host["CpuShares"],
        "cpuSet": host["CpusetCpus"],
        "logDriver": host["LogConfig"]["Type"],
        "logOpts": (host["LogConfig"].get("Config") or {}) if state.get("logOpts") else {},
        "storageOpts": host.get("StorageOpt") or {},
        "networkMode": host["NetworkMode"],
        "usernsMode": host["UsernsMode"],
        "sysctls": host.get("Sysctls") or {},
        "ipcMode": host["IpcMode"],
        "groupAdds": sorted(host.get("GroupAdd") or []),
        "tty": config["Tty"],
        "stdinOpen": config["OpenStdin"],
        "stopSignal": config.get("StopSignal", ""),
        "stopTimeout": config.get("StopTimeout") or 0,
    }
    for name, api in (
        ("deviceReadBps", "BlkioDeviceReadBps"),
        ("deviceReadIops", "BlkioDeviceReadIOps"),
        ("deviceWriteBps", "BlkioDeviceWriteBps"),
        ("deviceWriteIops", "BlkioDeviceWriteIOps"),
    ):
        seen[name] = [{"path": one["Path"], "rate": one["Rate"]} for one in host.get(api) or []]
    if host.get("CapAdd") or host.get("CapDrop"):
        seen["capabilities"] = {"adds": sorted(host.get("CapAdd") or []), "drops": sorted(host.get("CapDrop") or [])}
    if host["NanoCpus"] > 0:
        seen["cpus"] = cpus(host["NanoCpus"])
    if state.get("ulimits"):
        seen["ulimits"] = [
            {"name": one["Name"], "soft": one["Soft"], "hard": one["Hard"]} for one in host.get("Ulimits") or []
        ]
    if state.get("devices"):
        seen["devices"] = _devices(host.get("Devices") or [], state["devices"])
    if state.get("pidMode"):
        seen["pidMode"] = host["PidMode"]
    if config.get("Healthcheck"):
        seen["healthcheck"] = _healthcheck(config["Healthcheck"])
    if state.get("ports") and (status["Running"] or state.get("mustRun")):
        seen["ports"] = _ports(found["NetworkSettings"].get("Ports") or {})
    if not status["Running"]:
        seen["exitCode"] = status["ExitCode"]
        if state.get("mustRun"):
            seen["mustRun"] = False
    return seen


def cpus(nanoseconds: int) -> str:
    """As the real plugin writes it, `2` as `2.0` and, a mistake of it, `10` as `10.`: then each `up` replaces."""
    text = f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09d}"
    return f"{nanoseconds / 10**9:.1f}" if text.count("0") == 9 else text.rstrip("0")


def _network_data(name: str, endpoint: Any) -> Values:
    return {
        "networkName": name,
        "ipAddress": endpoint["IPAddress"],
        "ipPrefixLength": endpoint["IPPrefixLen"],
        "gateway": endpoint["Gateway"],
        "globalIpv6Address": endpoint["GlobalIPv6Address"],
        "globalIpv6PrefixLength": endpoint["GlobalIPv6PrefixLen"],
        "ipv6Gateway": endpoint["IPv6Gateway"],
        "macAddress": endpoint["MacAddress"],
    }


def _ports(bound: Any) -> list[Values]:
    """Empty for a container that doesn't run: its next `up` replaces it."""
    return [
        {
            "internal": int(port.split("/")[0]),
            "external": int(binding["HostPort"] or 0),
            "ip": binding["HostIp"],
            "protocol": port.split("/")[1],
        }
        for port in sorted(bound, key=lambda one: int(one.split("/")[0]))
        for binding in bound[port] or []
    ]


def _mount(mount: Any) -> Values:
    bind, volume, tmpfs = mount.get("BindOptions"), mount.get("VolumeOptions"), mount.get("TmpfsOptions")
    options = None
    if volume is not None:
        driver = volume.get("DriverConfig") or {}
        options = {
            "noCopy": volume.get("NoCopy", False),
            "labels": [{"label": name, "value": ""} for name in sorted(volume.get("Labels") or {})],
            "driverName": driver.get("Name", ""),
            "driverOptions": driver.get("Options") or {},
            "subpath": volume.get("Subpath", ""),
        }
    return {
        "target": mount["Target"],
        "source": mount.get("Source", ""),
        "type": mount["Type"],
        "readOnly": mount.get("ReadOnly", False),
        "bindOptions": None if bind is None else {"propagation": bind.get("Propagation", "")},
        "volumeOptions": options,
        "tmpfsOptions": None
        if tmpfs is None
        else {"sizeBytes": tmpfs.get("SizeBytes", 0), "mode": tmpfs.get("Mode", 0)},
    }


def _devices(devices: list[Any], given: list[Values]) -> list[Values]:
    named = {one["hostPath"] for one in given if one.get("containerPath")}
    return [
        {
            "hostPath": one["PathOnHost"],
            "containerPath": one["PathInContainer"] if one["PathOnHost"] in named else "",
            "permissions": one["CgroupPermissions"],
        }
        for one in devices
    ]


def _healthcheck(check: Any) -> Values:
    return {
        "tests": check.get("Test") or [],
        "interval": go_duration(check.get("Interval", 0)),
        "timeout": go_duration(check.get("Timeout", 0)),
        "startPeriod": go_duration(check.get("StartPeriod", 0)),
        "startInterval": go_duration(check.get("StartInterval", 0)),
        "retries": check.get("Retries", 0),
    }


def go_duration(nanoseconds: int) -> str:
    """As Go prints it: 60 s as 1m0s, so a health check given as `60s` changes at each `up`."""
    if nanoseconds < 10**9:
        for unit, size in (("ms", 10**6), ("µs", 10**3), ("ns", 1)):
            if nanoseconds >= size:
                return f"{_trimmed(nanoseconds / size)}{unit}"
        return "0s"
    minutes, rest = divmod(nanoseconds, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{_trimmed(rest / 10**9)}s"
    return f"{hours}h{minutes}m{seconds}" if hours else f"{minutes}m{seconds}" if minutes else seconds


def _trimmed(number: float) -> str:
    return f"{number:.9f}".rstrip("0").rstrip(".")


def update(client: docker.APIClient, identity: str, old: Values, wanted: Values) -> None:
    if not old.get("mustRun") and wanted["mustRun"] and wanted["start"]:
        _ask("Unable to start container", lambda: client.start(identity))
    if any((old.get(name) or None) != (wanted.get(name) or None) for name in IN_PLACE):
        body = container_spec.update(wanted)

        def change() -> None:
            client._raise_for_status(client._post_json(client._url("/containers/{0}/update", identity), data=body))

        _ask("Unable to update a container", change)


def delete(client: docker.APIClient, identity: str, state: Values) -> None:
    """Stopped with the old state's grace, SIGKILL at once without one; its anonymous volumes go with it by default."""
    if not state.get("attach"):
        grace_s = max(0, int(state.get("destroyGraceSeconds") or 0))
        _ignoring(
            f"Error stopping container {identity}", ("No such container",), lambda: client.stop(identity, grace_s)
        )
    gone = ("No such container", "is already in progress")
    volumes = bool(state.get("removeVolumes"))
    remove = lambda: client.remove_container(identity, v=volumes, force=True)  # noqa: E731
    _ignoring(f"Error deleting container {identity}", gone, remove)
    condition = "removed" if state.get("rm") else "not-running"
    wait = lambda: client.wait(identity, condition=condition)  # noqa: E731
    _ignoring(f"Error waiting for container removal '{identity}'", gone, wait)


def _ignoring(what: str, harmless: tuple[str, ...], call: Callable[[], Any]) -> None:
    try:
        call()
    except APIError as error:
        if not any(word in said(error) for word in harmless):
            raise Refused(f"{what}: {said(error)}") from None
