"""Runs in memory: loaded, moved by one transition at a time, put down again."""
