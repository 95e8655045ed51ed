"""What tells a target's place in its user's history, so that the history can be masked."""

HISTORY_ROW = "history_row"  # the row's place among all interactions, sorted by user and time
