"""The harness of every experiment: configs, flags, runs, results and their verification."""
