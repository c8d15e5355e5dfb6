"""Performs actions."""
