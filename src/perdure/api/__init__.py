"""The HTTP API: runs, calls and workers, for programs in any language. docs/reference/http.md is its page."""
