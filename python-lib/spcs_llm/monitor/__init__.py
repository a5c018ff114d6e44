"""The backend of the webapp *Model services*: what the page shows, and what it may do."""
