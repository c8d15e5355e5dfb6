import pytest

from tests.house.asking import asked


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what the house rules only ask about, if nothing but them was run: among all tests it would be noise."""
    files = {str(path) for path in terminalreporter.config.args}
    if asked() and files and all("tests/house" in path for path in files):
        terminalreporter.section("worth a thought", sep="-")
        for remark in asked():
            terminalreporter.write_line(remark)
