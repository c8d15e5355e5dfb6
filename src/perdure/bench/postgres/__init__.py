"""What the benchmark needs of PostgreSQL itself: the bare driver, the server's own figures, schemas that go away, a server of its own."""
