"""Scenarios: a file says what is done, what goes wrong, and what must come of it."""
