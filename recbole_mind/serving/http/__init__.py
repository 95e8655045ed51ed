"""The recall service: the application, its door, keys, limits, metrics, pages, and bundles swapped under it."""
