"""The command, with the models of this folder: ``python -m benchmarks leaderboard benchmarks/next-item.yaml ...``."""

import sys

from recbole_mind.cli.main import main

sys.exit(main())
