"""The tasks: the contract in base, then one file for each task."""
