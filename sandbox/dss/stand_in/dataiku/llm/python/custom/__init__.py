"""Where the embedding base class lived first."""
