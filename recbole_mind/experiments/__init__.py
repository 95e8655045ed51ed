"""Many runs: one trial, trials side by side, leaderboards, sweeps.

May import: ``training``, ``evaluation``, ``data``, ``report``, ``config``, ``util``.

Public: ``trial.Trial``, ``executor.spread``, ``progress.RunsProgress``.
"""
