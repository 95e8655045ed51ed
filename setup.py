"""The packages: every room, and ``properties/``, which is installed inside the package; the rest is in setup.cfg."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["recbole_mind", "recbole_mind.*"]), "recbole_mind.properties"])
