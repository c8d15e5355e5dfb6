"""Moves runs: stimuli in, one transition, one commit with many others, then dispatch."""
