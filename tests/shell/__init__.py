"""Each script of pgvector_stacks/common/shell by itself; what they do together is in tests/docker and tests/upgrade."""
