"""Who answers a batch is killed in the middle of it, again and again: one row for each file, in order, none twice.

`python -m benchmarks.chaos batches` kills 50 times, and on PostgreSQL too where one is named.
"""

import pytest

from tests.test_chaos import chaos

pytestmark = [pytest.mark.alone, pytest.mark.timeout(600)]


def test_a_batch_survives_kills_with_the_rows_of_a_calm_one():
    figures = chaos("batches", "--batches", "4", "--on", "own")
    assert figures["kills"] >= 4 and figures["files_each"] == 200
    assert figures["chunks_taken_over"] >= 1
