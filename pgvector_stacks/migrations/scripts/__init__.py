"""Reads the listed scripts, cuts them into statements and steps, and plans which ones run."""
