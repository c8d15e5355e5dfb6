"""What applications hold: runs, and the two ways to reach the node that moves them."""
