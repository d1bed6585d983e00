"""The Docker Engine: how it is reached and checked, and what a server in a container is."""
