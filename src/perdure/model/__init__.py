"""Words of the domain: values only. Imports the standard library and msgspec, nothing of Perdure."""
