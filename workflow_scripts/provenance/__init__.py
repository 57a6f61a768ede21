"""Tools over the records: where a file comes from, why two differ, what is stale."""
