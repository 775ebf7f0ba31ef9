"""A Grid and what is stored -> the Plan: runs with ids, shared passes, stages, shards; and how it is shown."""
