"""Several servers behind a gateway, and what becomes of their videos when something breaks."""
