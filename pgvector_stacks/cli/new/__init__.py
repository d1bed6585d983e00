"""Commands that write a new file of a project: a script, or a stack."""
