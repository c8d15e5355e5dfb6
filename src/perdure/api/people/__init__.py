"""What people are asked over HTTP."""
