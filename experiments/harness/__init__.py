"""The harness of every experiment: configs, flags, training runs, results and their verification."""
