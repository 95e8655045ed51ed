"""Measurements, each a module that writes a record."""
