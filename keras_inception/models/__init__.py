"""The architectures: a module a variant, and what all of them share."""
