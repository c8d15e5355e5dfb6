"""What clients in this process ask of the node."""
