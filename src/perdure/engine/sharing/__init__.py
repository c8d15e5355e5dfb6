"""How nodes share the runs of one store: each holds some of its partitions, and they move without a node speaking to another."""
