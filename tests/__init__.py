"""The tests, in folders like the package's."""

from pathlib import Path

ROOT = Path(__file__).parent.parent  # of the project
