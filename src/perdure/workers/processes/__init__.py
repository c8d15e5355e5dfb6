"""Performs actions in processes apart, so that those that compute do not wait for each other."""
