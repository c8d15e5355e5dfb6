"""How much of an action goes on at once, and how fast, over all nodes: limits that are shared through the store."""
