"""The node's side of calls that leave its process: who serves them, how they are sent, and how their outcomes come back."""
