"""SQL of the account: statements are read, run against the catalog, and encoded for one of two protocols."""
