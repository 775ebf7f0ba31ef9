"""How shards and fits reach workers: in this process, or on Ray; the only room that knows Ray."""
