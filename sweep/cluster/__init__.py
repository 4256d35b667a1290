"""The Ray cluster a study runs on, and what its nodes must have."""
