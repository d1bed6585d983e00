"""Derives settings, memory and index sizes from the limits of an environment. Pure."""
