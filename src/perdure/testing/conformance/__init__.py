"""Suites that prove the promises of a port. An adapter's test is a short harness plus the suite; the suites need pytest."""
