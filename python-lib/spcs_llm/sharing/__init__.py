"""What several threads, models and processes share: locks, values, and work that is done once for all."""
