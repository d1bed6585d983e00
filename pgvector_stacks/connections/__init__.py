"""Connections to a server: how it is reached and authenticated, the roles that log in, the lock of an `up`."""
