"""Runs scripts in the owner's session, together or step by step, and says where one failed."""
