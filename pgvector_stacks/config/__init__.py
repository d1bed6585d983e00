"""One stack's configuration: the typed model, its defaults, the stack file and its errors."""
