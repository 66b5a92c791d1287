"""Masks written out: a row of digits for each query, 1 where it may attend."""

import numpy as np


def written(rows):
    return np.array([[int(digit) for digit in row] for row in rows], bool)


def assert_written(mask, rows):
    np.testing.assert_array_equal(mask.dense(len(rows), len(rows[0])), written(rows))
