"""A second program: the search example as a container beside the database, found through the database's outputs.

It knows the database by a StackReference alone: the URL of role `app`, the network, the schema's revision.
"""

import pulumi
import pulumi_docker as docker

URL_FILE = "/run/secrets/pgvector-app-url"
config = pulumi.Config()
stack = pulumi.get_stack()
database = pulumi.StackReference(f"organization/pgvector/{stack}")
memory_mb = config.get_int("memoryMb") or 1024
words = ["--query", query] if (query := config.get("query")) else []

search = docker.Container(
    "search",
    name=config.get("name") or f"search-{stack}",
    image=config.get("image") or "search-app",
    command=["python3", "-m", "examples.search", stack, *words],
    # A file, since the environment shows in `docker inspect`. A rotated password is another content: a new container.
    uploads=[docker.ContainerUploadArgs(file=URL_FILE, content=database.require_output("appUrlInternal"))],
    # The revision is here so that the application starts again when the schema it reads has changed.
    envs=[
        f"PGVECTOR_APP_URL_FILE={URL_FILE}",
        database.require_output("schemaRevision").apply(lambda revision: f"SCHEMA_REVISION={revision}"),
    ],
    networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=database.require_output("network"))],
    capabilities=docker.ContainerCapabilitiesArgs(drops=["ALL"]),
    security_opts=["no-new-privileges"],
    memory=memory_mb,
    memory_swap=memory_mb,  # left out, the plugin would read Docker's own value back and change it at every up
    restart="no",
    must_run=False,  # it answers and ends
)

pulumi.export("container", search.name)
pulumi.export("schemaRevision", database.require_output("schemaRevision"))
