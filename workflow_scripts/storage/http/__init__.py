"""Reading over HTTP: ranges, retries, limits."""
