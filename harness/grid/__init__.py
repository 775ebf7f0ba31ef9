"""The user's YAML -> a Grid, every name, address and setting in it checked; the only room that sees plain dicts."""
