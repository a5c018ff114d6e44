"""Only `plugin` is stood in for."""
