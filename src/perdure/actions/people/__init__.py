"""Steps that people do."""
