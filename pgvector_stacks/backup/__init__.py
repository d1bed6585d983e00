"""Backups: made while the server serves, restored once into a throw-away server and checked, restored, cleared away."""
