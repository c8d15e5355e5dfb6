"""What others say to the runs here, from the store to their next transition."""
