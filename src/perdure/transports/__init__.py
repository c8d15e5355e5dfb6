"""How calls reach workers and outcomes come back, one module or package for each product."""
