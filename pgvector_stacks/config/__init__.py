"""The configuration of a stack: the typed model, its defaults, the stack file and the errors in it."""
