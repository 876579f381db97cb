"""Hostile requests of every kind through a real server, beside honest videos whose answers are compared bit by bit."""
