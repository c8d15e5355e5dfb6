"""What all tests share."""

import sys


def pytest_report_header() -> str:
    """Name the SQLite that is linked in: what it can do differs more between machines than Python does."""
    import sqlite3

    return f"sqlite {sqlite3.sqlite_version}, python {sys.version.split()[0]}"
