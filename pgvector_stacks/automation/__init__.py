"""Drives Pulumi from Python: gets its CLI, opens a stack, reads its state, compares plans."""
