"""A built network drawn as the papers draw theirs."""
