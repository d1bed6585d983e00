"""The four resources' fields, as far as they are covered: anything else is refused.

Names and order are pulumi_docker's. A field that isn't marked `replaces` changes in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.docker_plugin.fields import Field, Fields, at_least, duration, pattern

LABEL: Fields = {"label": Field(required=True), "value": Field(required=True)}
THROTTLE: Fields = {"path": Field(required=True), "rate": Field("integer", required=True, valid=at_least(0))}

REMOTE_IMAGE: Fields = {
    "name": Field(required=True, replaces=True),
    "keepLocally": Field("flag"),
    "forceRemove": Field("flag"),
    "platform": Field(replaces=True),
    "pullTriggers": Field("set", replaces=True),
    "triggers": Field("map", replaces=True),
    "build": Field("set", single=True, item={}),
    "imageId": Field(output=True),
    "repoDigest": Field(output=True),
}

VOLUME: Fields = {
    "name": Field(computed=True, replaces=True),
    "driver": Field(computed=True, replaces=True),
    "driverOpts": Field("map", replaces=True),
    "labels": Field("set", item=LABEL, replaces=True),
    "cluster": Field("list", single=True, item={}),
    "mountpoint": Field(output=True),
}

NETWORK: Fields = {
    "name": Field(required=True, replaces=True),
    "driver": Field(computed=True, replaces=True),
    "options": Field("map", computed=True, replaces=True),
    "internal": Field("flag", computed=True, replaces=True),
    "attachable": Field("flag", replaces=True),
    "ingress": Field("flag", replaces=True),
    "ipv6": Field("flag", replaces=True),
    "labels": Field("set", item=LABEL, replaces=True),
    "ipamDriver": Field(default="default", replaces=True),
    "ipamOptions": Field("map", replaces=True),
    "ipamConfigs": Field(
        "set",
        computed=True,
        replaces=True,
        item={"subnet": Field(), "ipRange": Field(), "gateway": Field(), "auxAddress": Field("map")},
    ),
    "scope": Field(output=True),
}

MOUNT: Fields = {
    "target": Field(required=True),
    "type": Field(required=True, valid=pattern("^(bind|volume|tmpfs)$")),
    "source": Field(),
    "readOnly": Field("flag"),
    "bindOptions": Field("list", single=True, item={"propagation": Field()}),
    "volumeOptions": Field(
        "list",
        single=True,
        item={
            "noCopy": Field("flag"),
            "labels": Field("set", item=LABEL),
            "driverName": Field(),
            "driverOptions": Field("map"),
            "subpath": Field(),
        },
    ),
    "tmpfsOptions": Field("list", single=True, item={"sizeBytes": Field("integer"), "mode": Field("integer")}),
}

HEALTHCHECK: Fields = {
    "tests": Field("list"),
    "interval": Field(default="0s", valid=duration),
    "timeout": Field(default="0s", valid=duration),
    "startPeriod": Field(default="0s", valid=duration),
    "startInterval": Field(default="0s", valid=duration),
    "retries": Field("integer", default=0, valid=at_least(0)),
}

CONTAINER: Fields = {
    "name": Field(required=True, replaces=True),
    "image": Field(required=True, replaces=True),
    "command": Field("list", computed=True, replaces=True),
    "entrypoints": Field("list", computed=True, replaces=True),
    "envs": Field("set", computed=True, replaces=True),
    "user": Field(replaces=True, sticky=True),
    "workingDir": Field(replaces=True, sticky=True),
    "hostname": Field(computed=True, replaces=True),
    "domainname": Field(replaces=True),
    "labels": Field("set", item=LABEL, computed=True, replaces=True),
    # limits
    "memory": Field("integer", valid=at_least(0)),
    "memoryReservation": Field("integer", default=0, valid=at_least(0)),
    "memorySwap": Field("integer", valid=at_least(-1)),
    "cpuShares": Field("integer", valid=at_least(0)),
    "cpuSet": Field(valid=pattern(r"^\d+([,-]\d+)*$")),
    "cpus": Field(replaces=True),
    "cpuPeriod": Field("integer", valid=at_least(0)),
    "cpuQuota": Field("integer", valid=at_least(0)),
    "shmSize": Field("integer", computed=True, replaces=True, valid=at_least(0)),
    "ulimits": Field(
        "set",
        replaces=True,
        item={
            "name": Field(required=True),
            "soft": Field("integer", required=True),
            "hard": Field("integer", required=True),
        },
    ),
    "deviceReadBps": Field("set", item=THROTTLE),
    "deviceReadIops": Field("set", item=THROTTLE),
    "deviceWriteBps": Field("set", item=THROTTLE),
    "deviceWriteIops": Field("set", item=THROTTLE),
    # hardening
    "capabilities": Field("set", single=True, replaces=True, item={"adds": Field("set"), "drops": Field("set")}),
    "securityOpts": Field("set", computed=True, replaces=True),
    "privileged": Field("flag", replaces=True),
    "readOnly": Field("flag", default=False, replaces=True),
    "groupAdds": Field("set", replaces=True),
    "sysctls": Field("map", replaces=True),
    "ipcMode": Field(computed=True, replaces=True),
    "pidMode": Field(replaces=True),
    "usernsMode": Field(replaces=True),
    "cgroupnsMode": Field(replaces=True),
    "cgroupParent": Field(replaces=True),
    "runtime": Field(computed=True, replaces=True),
    "platform": Field(computed=True, replaces=True),
    # data
    "mounts": Field("set", item=MOUNT, replaces=True),
    "volumes": Field(
        "set",
        replaces=True,
        item={
            "containerPath": Field(),
            "fromContainer": Field(),
            "hostPath": Field(),
            "readOnly": Field("flag"),
            "selinuxRelabel": Field(valid=pattern("^(z|Z)$")),
            "volumeName": Field(),
        },
    ),
    "tmpfs": Field("map"),
    "storageOpts": Field("map", replaces=True),
    "uploads": Field(
        "set",
        replaces=True,
        item={
            "file": Field(required=True),
            "content": Field(),
            "contentBase64": Field(),
            "executable": Field("flag", default=False),
            "permissions": Field(valid=pattern("^0[0-7]{3}$")),
            "source": Field(),
            "sourceHash": Field(),
        },
    ),
    "devices": Field(
        "set",
        replaces=True,
        item={"hostPath": Field(required=True), "containerPath": Field(), "permissions": Field(default="rwm")},
    ),
    "deviceRequests": Field("set", replaces=True, item={}),
    "gpus": Field(replaces=True),
    # network
    "ports": Field(
        "list",
        replaces=True,
        unordered=True,
        item={
            "internal": Field("integer", required=True),
            "external": Field("integer", computed=True),
            "ip": Field(default="0.0.0.0"),
            "protocol": Field(default="tcp"),
        },
    ),
    "publishAllPorts": Field("flag", replaces=True),
    "networkMode": Field(default="bridge", replaces=True),
    "networksAdvanced": Field(
        "set",
        replaces=True,
        item={
            "name": Field(required=True),
            "aliases": Field("set"),
            "driverOpts": Field("set"),
            "gwPriority": Field("integer", valid=at_least(0)),
            "ipv4Address": Field(),
            "ipv6Address": Field(),
            "linkLocalIps": Field("set"),
            "macAddress": Field(),
        },
    ),
    "dns": Field("set", replaces=True),
    "dnsOpts": Field("set", replaces=True),
    "dnsSearches": Field("set", replaces=True),
    "hosts": Field("set", replaces=True, item={"host": Field(required=True), "ip": Field(required=True)}),
    # life
    "restart": Field(default="no", valid=pattern("^(no|on-failure|always|unless-stopped)$")),
    "maxRetryCount": Field("integer"),
    "healthcheck": Field("list", item=HEALTHCHECK, single=True, computed=True),
    "stopSignal": Field(computed=True, replaces=True),
    "stopTimeout": Field("integer", computed=True, replaces=True),
    "destroyGraceSeconds": Field("integer"),
    "mustRun": Field("flag", default=True),
    "start": Field("flag", default=True),
    "wait": Field("flag", default=False),
    "waitTimeout": Field("integer", default=60),
    "removeVolumes": Field("flag", default=True),
    "rm": Field("flag", default=False),
    "attach": Field("flag", default=False),
    "logs": Field("flag", default=False),
    "init": Field("flag", computed=True),
    "tty": Field("flag", default=False, replaces=True),
    "stdinOpen": Field("flag", default=False, replaces=True),
    "logDriver": Field(computed=True, replaces=True),
    "logOpts": Field("map", replaces=True),
    "containerReadRefreshTimeoutMilliseconds": Field("integer", default=15000),
    # what only the plugin says
    "bridge": Field(output=True),
    "containerLogs": Field(output=True),
    "exitCode": Field("integer", output=True),
    "networkDatas": Field(
        "list",
        output=True,
        item={
            "gateway": Field(),
            "globalIpv6Address": Field(),
            "globalIpv6PrefixLength": Field("integer"),
            "ipAddress": Field(),
            "ipPrefixLength": Field("integer"),
            "ipv6Gateway": Field(),
            "macAddress": Field(),
            "networkName": Field(),
        },
    ),
}

# Known to the real plugin, shown in the state, and not covered here.
NOT_COVERED = frozenset({"build", "cluster", "deviceRequests", "gpus"})


@dataclass(frozen=True, slots=True)
class Type:
    """One resource type. Meta: what the real plugin keeps of its own in the state."""

    token: str
    fields: Fields
    meta: str
    delete_before_replace: bool = False
    named: bool = True


LONGEST = '"create":1200000000000,"delete":1200000000000,"update":1200000000000'
TIMEOUTS = f'"e2bfb730-ecaa-11e6-8f88-34363bc7c4c0":{{{LONGEST}}}'
TYPES: Mapping[str, Type] = {
    kind.token: kind
    for kind in (
        Type("docker:index/remoteImage:RemoteImage", REMOTE_IMAGE, f"{{{TIMEOUTS}}}", named=False),
        Type("docker:index/volume:Volume", VOLUME, '{"schema_version":"1"}'),
        Type("docker:index/network:Network", NETWORK, '{"schema_version":"1"}'),
        Type(
            "docker:index/container:Container",
            CONTAINER,
            f'{{{TIMEOUTS},"schema_version":"2"}}',
            delete_before_replace=True,
        ),
    )
}
