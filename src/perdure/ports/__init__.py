"""Contracts with the world. Each is a small Protocol with a promise; adapters keep it, conformance suites prove it."""
