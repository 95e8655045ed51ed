"""Hyperparameter search: the file, the space, the search, early stopping, the results."""
