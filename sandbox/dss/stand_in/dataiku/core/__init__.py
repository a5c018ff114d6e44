"""Only what the package's own modules, and plugins, import."""
