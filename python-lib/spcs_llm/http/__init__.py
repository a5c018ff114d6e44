"""HTTP to one endpoint: connections, attempts, deadlines, retries, limits and event streams."""
