"""Draws the timeline of a run as text."""
