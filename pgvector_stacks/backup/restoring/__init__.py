"""Restores a database from a dump with the rights of its owners and no others."""
