"""The suites live in the package, and still show the values of a failed assertion."""

import pytest

pytest.register_assert_rewrite("perdure.testing.conformance")
