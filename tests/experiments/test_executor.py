"""Workers of Ray: as nice as who starts a cluster here, and as a cluster of somebody else's has them."""

from __future__ import annotations

import os

import pytest

from recbole_mind.experiments import executor

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def niceness(address=None):
    def own(_):  # within, so that it is sent whole
        import os

        return os.nice(0)

    ((_, found),) = executor.spread(own, [0], jobs=2, ray=address)
    return found


def test_workers_here_are_as_nice_as_who_starts_them():
    assert niceness() == os.nice(0)


def test_workers_of_another_cluster_stay_as_they_are():
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        assert niceness(cluster.address) == min(19, os.nice(0) + 15)
    finally:
        cluster.shutdown()
