"""What the Docker Engine is asked to create for a planned Container. No I/O.

A field that is unset or UNKNOWN is left to the engine.
"""

from __future__ import annotations

import base64
import io
import re
import tarfile
from pathlib import Path
from typing import Any

from tests.docker_plugin.fields import UNKNOWN, Values
from tests.docker_plugin.inputs import Refused
from tests.docker_plugin.resource_simple import labels_to

MB = 1024 * 1024
UNITS_NS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
SUBPATH_API = (1, 45)


def config(wanted: Values, api_version: str) -> Values:
    """The body of /containers/create. Raises Refused."""
    known = {name: value for name, value in wanted.items() if value not in (None, UNKNOWN, "", [], {}, 0, False)}
    if "" in known.get("command", ()):
        raise Refused("values for command may not be empty")
    body: Values = {
        "Image": wanted["image"],
        "Hostname": known.get("hostname", ""),
        "Domainname": known.get("domainname", ""),
        "User": known.get("user", ""),
        "WorkingDir": known.get("workingDir", ""),
        "Tty": bool(known.get("tty")),
        "OpenStdin": bool(known.get("stdinOpen")),
        "Env": known.get("envs"),
        "Cmd": known.get("command"),
        "Entrypoint": known.get("entrypoints"),
        "Labels": labels_to(known.get("labels", [])) or None,
        "StopSignal": known.get("stopSignal"),
        "StopTimeout": known.get("stopTimeout"),
        "Healthcheck": _healthcheck(known.get("healthcheck")),
        "ExposedPorts": {f"{port['internal']}/{port['protocol']}": {} for port in known.get("ports", [])} or None,
        "Volumes": {one["containerPath"]: {} for one in known.get("volumes", []) if one["containerPath"]} or None,
        "HostConfig": _host_config(known, api_version),
    }
    return {name: value for name, value in body.items() if value is not None}


def _host_config(known: Values, api_version: str) -> Values:
    capabilities = known.get("capabilities", {})
    binds, volumes_from = _volumes(known.get("volumes", []))
    security = [one for one in known.get("securityOpts", []) if one != "systempaths=unconfined"]
    unconfined = len(security) != len(known.get("securityOpts", []))
    host: Values = {
        "Memory": known.get("memory", 0) * MB,
        "MemoryReservation": known.get("memoryReservation", 0) * MB,
        "MemorySwap": swap_bytes(known.get("memorySwap", 0)),
        "ShmSize": known.get("shmSize", 0) * MB or None,
        "NanoCpus": nano_cpus(known["cpus"]) if "cpus" in known else None,
        "CpuPeriod": None if "cpus" in known else known.get("cpuPeriod"),
        "CpuQuota": None if "cpus" in known else known.get("cpuQuota"),
        "CpuShares": known.get("cpuShares"),
        "CpusetCpus": known.get("cpuSet"),
        "Ulimits": [{"Name": one["name"], "Soft": one["soft"], "Hard": one["hard"]} for one in known.get("ulimits", [])]
        or None,
        **throttles(known),
        "CapAdd": _capabilities(capabilities.get("adds")),
        "CapDrop": _capabilities(capabilities.get("drops")),
        "SecurityOpt": security or None,
        "MaskedPaths": [] if unconfined else None,
        "ReadonlyPaths": [] if unconfined else None,
        "Privileged": known.get("privileged"),
        "ReadonlyRootfs": bool(known.get("readOnly")),
        "GroupAdd": known.get("groupAdds"),
        "Sysctls": known.get("sysctls"),
        "IpcMode": known.get("ipcMode"),
        "PidMode": known.get("pidMode"),
        "UsernsMode": known.get("usernsMode"),
        "CgroupnsMode": known.get("cgroupnsMode"),
        "CgroupParent": known.get("cgroupParent"),
        "Runtime": known.get("runtime"),
        "Mounts": [_mount(one, api_version) for one in known.get("mounts", [])] or None,
        "Binds": binds or None,
        "VolumesFrom": volumes_from or None,
        "Tmpfs": known.get("tmpfs"),
        "StorageOpt": known.get("storageOpts"),
        "Devices": [
            {
                "PathOnHost": one["hostPath"],
                "PathInContainer": one["containerPath"] or one["hostPath"],
                "CgroupPermissions": one["permissions"],
            }
            for one in known.get("devices", [])
        ]
        or None,
        "PortBindings": _port_bindings(known.get("ports", [])) or None,
        "PublishAllPorts": bool(known.get("publishAllPorts")),
        "NetworkMode": known.get("networkMode"),
        "Dns": known.get("dns"),
        "DnsOptions": known.get("dnsOpts"),
        "DnsSearch": known.get("dnsSearches"),
        "ExtraHosts": [f"{one['host']}:{one['ip']}" for one in known.get("hosts", [])] or None,
        "RestartPolicy": restart_policy(known),
        "AutoRemove": bool(known.get("rm")),
        "Init": bool(known.get("init")),
        "LogConfig": {"Type": known.get("logDriver", ""), "Config": known.get("logOpts", {})},
    }
    return {name: value for name, value in host.items() if value is not None}


def _capabilities(given: list[str] | None) -> list[str] | None:
    """As the real plugin's client sends them; the state shows them so, and one given as CHOWN changes at each `up`."""
    names = {name.upper() for name in given or []}
    spelled = {name if name == "ALL" or name.startswith("CAP_") else f"CAP_{name}" for name in names}
    return sorted(spelled) or None


def restart_policy(known: Values) -> Values:
    return {"Name": known.get("restart") or "", "MaximumRetryCount": known.get("maxRetryCount") or 0}


def throttles(known: Values) -> Values:
    """The limits of block devices that are set."""
    names = {
        "deviceReadBps": "BlkioDeviceReadBps",
        "deviceReadIops": "BlkioDeviceReadIOps",
        "deviceWriteBps": "BlkioDeviceWriteBps",
        "deviceWriteIops": "BlkioDeviceWriteIOps",
    }
    return {
        api: [{"Path": one["path"], "Rate": one["rate"]} for one in known[name]]
        for name, api in names.items()
        if known.get(name)
    }


def swap_bytes(megabytes: int) -> int:
    """-1 means without a limit and stays so."""
    return megabytes * MB if megabytes > 0 else megabytes


def nano_cpus(text: str) -> int:
    try:
        return round(float(text) * 10**9)
    except ValueError:
        raise Refused(f"Error setting cpus: failed to parse {text} as a rational number") from None


def nanoseconds(text: str) -> int:
    """What Go's time.ParseDuration makes of it."""
    sign = -1 if text.startswith("-") else 1
    parts = re.findall(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)", text)
    return sign * round(sum(float(number) * UNITS_NS[unit] for number, unit in parts))


def _healthcheck(check: Values | None) -> Values | None:
    if not check:
        return None
    found = {
        "Test": check.get("tests") or [],
        "Interval": nanoseconds(check["interval"]),
        "Timeout": nanoseconds(check["timeout"]),
        "StartPeriod": nanoseconds(check["startPeriod"]),
        "Retries": check["retries"],
    }
    start = nanoseconds(check["startInterval"])
    return found | ({"StartInterval": start} if start else {})


def _port_bindings(ports: list[Values]) -> dict[str, list[Values]]:
    bindings: dict[str, list[Values]] = {}
    for port in ports:
        external = port["external"]
        binding = {"HostIp": port["ip"], "HostPort": str(0 if external in (None, UNKNOWN) else external)}
        bindings.setdefault(f"{port['internal']}/{port['protocol']}", []).append(binding)
    return bindings


def _volumes(volumes: list[Values]) -> tuple[list[str], list[str]]:
    binds, volumes_from = [], []
    for one in volumes:
        source, path = one["hostPath"] or one["volumeName"], one["containerPath"]
        if bool(one["fromContainer"]) == bool(path):
            what = (
                "both a container and a path specified in a" if path else "without container path or source container"
            )
            entry = f"{what} volume entry" if path else f"volume entry {what}"
            raise Refused(f"Unable to parse volumes: {entry}")
        if one["fromContainer"]:
            volumes_from.append(one["fromContainer"])
        elif source:
            mode = "ro" if one["readOnly"] else "rw"
            relabel = f",{one['selinuxRelabel']}" if one["selinuxRelabel"] else ""
            binds.append(f"{source}:{path}:{mode}{relabel}")
    return binds, volumes_from


def _mount(one: Values, api_version: str) -> Values:
    mount: Values = {
        "Type": one["type"],
        "Target": one["target"],
        "Source": one["source"],
        "ReadOnly": bool(one["readOnly"]),
    }
    if one["type"] == "bind" and one["bindOptions"] is not None:
        mount["BindOptions"] = {"Propagation": one["bindOptions"]["propagation"]}
    if one["type"] == "volume" and one["volumeOptions"] is not None:
        if tuple(int(part) for part in api_version.split(".")) < SUBPATH_API:
            raise Refused("Setting VolumeOptions.Subpath requires docker version 1.45 or higher")
        options = one["volumeOptions"]
        mount["VolumeOptions"] = {
            "NoCopy": bool(options["noCopy"]),
            "Labels": labels_to(options["labels"]),
            "DriverConfig": {"Name": options["driverName"], "Options": options["driverOptions"] or {}},
            "Subpath": options["subpath"],
        }
    if one["type"] == "tmpfs" and one["tmpfsOptions"] is not None:
        options = one["tmpfsOptions"]
        mount["TmpfsOptions"] = {"SizeBytes": options["sizeBytes"] or 0, "Mode": options["mode"] or 0}
    return mount


def archive(upload: Values) -> bytes:
    """One file to be put into the container, as a tar. Raises Refused."""
    given = [upload[name] for name in ("content", "contentBase64", "source") if upload[name]]
    if len(given) != 1:
        how = "one of 'content', 'content_base64', or 'source' must be set"
        if given:
            how = "only one of 'content', 'content_base64', or 'source' can be set"
        raise Refused(f"error with upload content: {how}")
    content = upload["content"].encode()
    if upload["contentBase64"]:
        content = base64.b64decode(upload["contentBase64"])
    elif upload["source"]:
        try:
            content = Path(upload["source"]).read_bytes()
        except OSError as error:
            raise Refused(f"could not read file: {error}") from None
    entry = tarfile.TarInfo(upload["file"].lstrip("/"))
    entry.size = len(content)
    entry.mode = int(upload["permissions"], 8) if upload["permissions"] else 0o744 if upload["executable"] else 0o644
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def update(wanted: Values) -> Values:
    """The body of /containers/…/update. The engine leaves alone what is 0 here."""
    return {
        "Memory": (wanted.get("memory") or 0) * MB,
        "MemoryReservation": (wanted.get("memoryReservation") or 0) * MB,
        "MemorySwap": swap_bytes(wanted.get("memorySwap") or 0),
        "CpuShares": wanted.get("cpuShares") or 0,
        "CpusetCpus": wanted.get("cpuSet") or "",
        **throttles(wanted),
        "RestartPolicy": restart_policy(wanted),
    }


def endpoint(network: Values) -> dict[str, Any]:
    """How the container is connected to one of `networksAdvanced`."""
    options = [one.split("=", 1) for one in network["driverOpts"] or []]
    return {
        "Aliases": network["aliases"] or [],
        "IPAMConfig": {
            "IPv4Address": network["ipv4Address"],
            "IPv6Address": network["ipv6Address"],
            "LinkLocalIPs": network["linkLocalIps"] or [],
        },
        "MacAddress": network["macAddress"],
        "DriverOpts": {one[0]: one[1] for one in options if len(one) == 2},
        "GwPriority": network["gwPriority"] or 0,
    }
