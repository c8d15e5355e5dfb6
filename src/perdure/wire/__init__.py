"""What nodes and workers say to each other: messages any language can read and write."""
