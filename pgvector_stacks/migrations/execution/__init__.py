"""Runs scripts in the owner's session, together or step by step, and reports where a script failed."""
