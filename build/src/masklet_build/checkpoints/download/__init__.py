"""Fetching an official checkpoint: resumable, checked, whole or not at all."""
