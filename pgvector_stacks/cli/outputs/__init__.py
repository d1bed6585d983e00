"""A stack's outputs: which there are (`stack_outputs`), as what text (`formats`), and in which file (`files`)."""
