"""The engine `docker`: a PostgreSQL server in a hardened container, with its image, volume and network.

In dependency order: Preflight (refuses before anything changes) → the explicit docker Provider → RemoteImage, Volume,
Network → DataDirectory (initdb, or the volume's data; tries a changed image or setting) → Container → Readiness (waits
for the server, diagnoses). The Container is declared with `wait=False`: with a wait, the plugin would report only
"failed to be in healthy state".
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pulumi
import pulumi_docker as docker

from pgvector_stacks.common import image_names
from pgvector_stacks.common.image_names import VOLUME
from pgvector_stacks.config import offline, stack_ports
from pgvector_stacks.config.environment import Environment
from pgvector_stacks.docker import docker_context
from pgvector_stacks.docker.container_spec import ANYWHERE, PORT, ContainerSpec, published_host
from pgvector_stacks.docker.docker_host import CLAIM_LABEL, NAME_LABEL, ROLE_LABEL, Endpoint, choose_endpoint
from pgvector_stacks.embedded.embedded_server import ADMIN
from pgvector_stacks.sizing.budget import TunedServer

from .certificate import GeneratedCertificate
from .claim import Claim
from .data_directory import DataDirectory
from .password import declare_password
from .preflight import Preflight, to_props
from .readiness import Readiness
from .shared import left_behind
from .shared.engine import DeclaredServer, backup_inputs, upgrade_inputs
from .shared.schema_check import WANTED

HEALTHY = ["CMD", "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(PORT)]
PINNED = ("staging", "production")  # environments that should run exactly the image that was tested


def declare(
    environment: Environment, parent: pulumi.Resource, schema: Mapping[str, Any], backup_key: pulumi.Output[str]
) -> DeclaredServer:
    """Declare the server of the engine `docker`. `schema`: what is compared with the database before a change.

    Raises PgstackError, also if the memory is too small.
    """
    if offline.is_offline_requested(os.environ):
        engine = offline.get_endpoint_offline(environment, os.environ)
    else:
        engine = choose_endpoint(environment.docker_host, environment.docker_context, os.environ)
    if environment.backup is not None and engine != offline.NOT_ASKED:
        from pgvector_stacks.backup.daily import sidecar  # few stacks have a schedule

        sidecar.refuse_elsewhere(engine, environment.stack)
    stack_ports.refuse_conflict(environment)
    if environment.environment in PINNED and not image_names.is_pinned(environment.image):
        pulumi.log.info(image_names.describe_pinning(environment.image))
    return _Declaration(environment, parent, engine, environment.tuned_within_memory, backup_key).server(schema)


class _Declaration:
    """The resources of one server, in dependency order."""

    def __init__(
        self, environment: Environment, parent: pulumi.Resource, engine: Endpoint, tuned: TunedServer,
        backup_key: pulumi.Output[str],
    ) -> None:  # fmt: skip
        self.environment, self.engine, self.tuned = environment, engine, tuned
        self.name, self.backup_key = environment.name, backup_key
        self.host = published_host(environment.bind_address)
        self.sslmode = "require" if environment.tls == "require" else ""
        self.options = pulumi.ResourceOptions(parent=parent)
        self.admin_password = declare_password("admin-password", environment.admin_password, parent)
        self.backup_password = (
            declare_password("backup-password", None, parent) if environment.backup is not None else None
        )
        self.claim = Claim("claim", self.options)
        preflight = Preflight(
            "preflight",
            to_props(environment, engine, tuned.wal_mb) | {"claim": self.claim.value},
            self.options,
        )
        tls = docker_context.find_tls_files(engine.url, os.environ)
        self.provider = docker.Provider(
            "docker", host=engine.url, cert_path=tls.folder_for_plugin() if tls else None,
            opts=pulumi.ResourceOptions(parent=parent, depends_on=[preflight]),
        )  # fmt: skip
        self.docker = pulumi.ResourceOptions(parent=parent, provider=self.provider)

    def server(self, schema: Mapping[str, Any]) -> DeclaredServer:
        environment = self.environment
        image = docker.RemoteImage("image", name=environment.image, keep_locally=True, opts=self.docker)
        volume, network = self._volume(), self._network()
        certificate, key = self._certificate()
        common = {
            "name": self.name,
            "volume": volume.name,
            "image": image.image_id,
            "docker": self.engine.url,
            "memoryMb": environment.memory_mb,
            "adminPassword": self.admin_password,
            "host": self.host,
            "port": environment.port,
            "sslmode": self.sslmode,
        }
        data = DataDirectory("data", common | self._data_inputs(certificate, key, schema), self.options)
        spec = pulumi.Output.all(certificate, key).apply(lambda pair: self._spec(pair[0], pair[1]))
        container = self._container(image, volume, network, spec, data)
        ready = Readiness(
            "ready",
            common
            | {
                "container": container.id,
                "fingerprint": spec.apply(lambda found: found.fingerprint),
                "systemIdentifier": data.systemIdentifier,
                "pidsLimit": environment.pids_limit,
            }
            | ({"certificate": certificate} if self.sslmode else {})
            | backup_inputs(environment, self.backup_key),
            self.options,
        )
        self._schedule_backups(image, network, ready, certificate)
        return self._answer(ready, certificate)

    def _answer(self, ready: Readiness, certificate: pulumi.Output[str]) -> DeclaredServer:
        environment = self.environment
        return DeclaredServer(
            # the inputs, not outputs of `ready`, so that a preview knows them
            host=pulumi.Output.from_input(self.host),
            port=pulumi.Output.from_input(environment.port or PORT),
            identity=ready.identity,
            version=ready.version,
            settings=self.tuned.settings,
            admin=ADMIN,
            admin_password=self.admin_password,
            sslmode=self.sslmode,
            build_memory_mb=self.tuned.build_mb,
            backup_password=self.backup_password,
            via="" if self.engine == offline.NOT_ASKED else self.engine.via,
            network=self.name,
            internal_host=self.name,
            certificate=certificate if self.sslmode else None,
        )

    def _data_inputs(
        self, certificate: pulumi.Output[str], key: pulumi.Output[str], schema: Mapping[str, Any]
    ) -> dict[str, Any]:
        environment = self.environment
        return (
            {
                "volumeName": environment.volume_name,
                "imageName": environment.image,
                "major": environment.major,
                "settings": self.tuned.settings,
                "cpus": environment.cpus,
                "shmMb": self.tuned.shm_mb,
                "certificate": certificate,
                "key": key,
                "filesOfRoot": True,
                "pgvectorMinimum": environment.pgvector_minimum,
                "stopGraceS": environment.stop_grace_s,
                WANTED: schema,
            }
            | upgrade_inputs(environment, self.backup_key)
            | ({"adopt": True} if environment.adopt_volume else {})
        )

    def _schedule_backups(
        self, image: docker.RemoteImage, network: docker.Network, ready: Readiness, certificate: pulumi.Output[str]
    ) -> None:
        if self.backup_password is None:
            return
        from pgvector_stacks.backup.daily import sidecar

        from . import backup_schedule

        hooks = self._before_create("backup", left_behind.remove_container, sidecar.container_name(self.name))
        backup_schedule.declare(
            self.environment,
            backup_schedule.BackedUpServer(
                self.engine, image, network, ready, self.backup_password, self.backup_key, certificate
            ),
            backup_schedule.Options(self.options, self.docker, hooks, self._labels("backup")),
        )

    def _spec(self, certificate: str, key: str) -> ContainerSpec:
        return ContainerSpec(
            name=self.name, major=self.environment.major, settings=self.tuned.settings,
            memory_mb=self.environment.memory_mb, cpus=self.environment.cpus, shm_mb=self.tuned.shm_mb,
            certificate=certificate, key=key, root_owns_files=True,
        )  # fmt: skip

    def _volume(self) -> docker.Volume:
        """Declare the volume, without labels: a changed label would replace the volume, and with it the data.

        An adopted volume keeps the labels and the driver that it has. Creating it again changes nothing, as Docker
        returns the existing volume. What a refresh finds out about it is ignored.
        """
        kept = self.environment.volume != "delete"
        path = self.environment.data_path
        adopted = self.environment.adopt_volume is not None
        return docker.Volume(
            "volume",
            name=self.environment.volume_name,
            driver=None if adopted else "local",
            driver_opts={"type": "none", "o": "bind", "device": path} if path else None,
            opts=pulumi.ResourceOptions.merge(
                self.docker,
                pulumi.ResourceOptions(
                    protect=self.environment.volume == "protect", retain_on_delete=kept, delete_before_replace=True,
                    ignore_changes=["labels", "driver", "driverOpts"] if adopted else None,
                    hooks=None if adopted else self._before_create(
                        "volume", partial(left_behind.remove_empty_volume, path or "", self.environment.image),
                        self.environment.volume_name,
                    ),
                ),
            ),
        )  # fmt: skip

    def _network(self) -> docker.Network:
        labels: dict[str, pulumi.Input[str]] = {NAME_LABEL: self.name, CLAIM_LABEL: self.claim.value}
        return docker.Network(
            "network",
            name=self.name,
            labels=[docker.NetworkLabelArgs(label=label, value=value) for label, value in labels.items()],
            opts=pulumi.ResourceOptions.merge(
                self.docker,
                pulumi.ResourceOptions(hooks=self._before_create("network", left_behind.remove_network, self.name)),
            ),
        )

    def _labels(self, role: str) -> dict[str, pulumi.Input[str]]:
        return {NAME_LABEL: self.name, ROLE_LABEL: role, CLAIM_LABEL: self.claim.value}

    def _before_create(
        self, what: str, remove: Callable[[Endpoint, str, str], None], name: str
    ) -> pulumi.ResourceHookBinding:
        """Return the hook that removes what a killed `up` left before the resource of that name is created.

        The state doesn't have what the killed `up` left. The hook refuses what belongs to another checkout.
        """
        engine = self.engine
        known: list[str] = []
        self.claim.value.apply(known.append)

        def hook(_: pulumi.ResourceHookArgs) -> None:
            remove(engine, name, known[0] if known else "")

        return pulumi.ResourceHookBinding(
            before_create=[pulumi.ResourceHook(f"remove-a-{what}-that-no-state-knows", hook)]
        )

    def _certificate(self) -> tuple[pulumi.Output[str], pulumi.Output[str]]:
        """Return (certificate, key): the configured ones, or generated ones; empty without TLS."""
        environment = self.environment
        if environment.tls == "off":
            return pulumi.Output.from_input(""), pulumi.Output.from_input("")
        if environment.tls_certificate is not None and environment.tls_key is not None:
            key = pulumi.Output.secret(environment.tls_key.get_secret_value())
            return pulumi.Output.from_input(environment.tls_certificate), key
        names = [self.name, *environment.network_aliases, "localhost", "127.0.0.1"]
        if environment.bind_address not in (*ANYWHERE, "127.0.0.1"):
            names.append(environment.bind_address)
        made = GeneratedCertificate("certificate", names, self.options)
        return made.certificate, made.key

    def _container(
        self, image: docker.RemoteImage, volume: docker.Volume, network: docker.Network,
        spec: pulumi.Output[ContainerSpec], data: DataDirectory,
    ) -> docker.Container:  # fmt: skip
        environment = self.environment
        shape = self._spec("", "")  # only what doesn't depend on the certificate
        labels = self._labels("server")
        return docker.Container(
            "server",
            name=self.name,
            image=image.image_id,
            command=spec.apply(lambda found: found.command),
            envs=[f"{key}={value}" for key, value in shape.environment.items()],
            user="postgres",
            read_only=True,
            capabilities=docker.ContainerCapabilitiesArgs(drops=["ALL"]),
            security_opts=["no-new-privileges"],
            mounts=[docker.ContainerMountArgs(type="volume", source=volume.name, target=VOLUME)],
            tmpfs=shape.tmpfs,
            memory=environment.memory_mb,
            memory_swap=environment.memory_mb,  # no swap: a database that swaps is too slow to use
            cpus=format_cpus(environment.cpus),
            shm_size=self.tuned.shm_mb,
            ulimits=[
                docker.ContainerUlimitArgs(name="nofile", soft=environment.open_files, hard=environment.open_files)
            ],
            ports=[docker.ContainerPortArgs(internal=PORT, external=environment.port, ip=environment.bind_address)],
            networks_advanced=[
                docker.ContainerNetworksAdvancedArgs(name=network.name, aliases=list(environment.network_aliases))
            ],
            healthcheck=docker.ContainerHealthcheckArgs(
                tests=HEALTHY, interval="10s", timeout="5s", retries=6, start_period="30s"
            ),
            log_driver="json-file",
            log_opts={"max-size": f"{environment.log_max_size_mb}m", "max-file": str(environment.log_max_files)},
            labels=[docker.ContainerLabelArgs(label=label, value=value) for label, value in labels.items()],
            restart=environment.restart,
            stop_signal="SIGINT",  # fast shutdown
            stop_timeout=environment.stop_grace_s,
            destroy_grace_seconds=environment.stop_grace_s,  # unset means SIGKILL
            must_run=True,
            wait=False,
            opts=pulumi.ResourceOptions.merge(
                self.docker,
                pulumi.ResourceOptions(
                    depends_on=[data],
                    delete_before_replace=True,
                    replace_on_changes=["healthcheck"],  # the plugin stores a changed healthcheck but never applies it
                    hooks=self._before_create("container", left_behind.remove_container, self.name),
                ),
            ),
        )


def format_cpus(cpus: float) -> str:
    """Return the text that the plugin reads back: `1.0`, `0.25`, `10.` for ten. Any other would change at every `up`.

    Source: nanoInt64ToDecimalString in terraform-provider-docker, internal/provider/helpers.go.
    """
    text = f"{cpus:.9f}"
    return f"{cpus:.1f}" if text.count("0") == 9 else text.rstrip("0")
