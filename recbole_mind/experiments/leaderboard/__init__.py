"""Models side by side: the file, the runs, the tests of significance, tables in each format."""
