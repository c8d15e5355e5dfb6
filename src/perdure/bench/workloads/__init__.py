"""The workloads. Each gets a bench and gives its figures; each runs in a process of its own."""
