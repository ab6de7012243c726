"""Fixtures: a SLURM for the tests, and finished runs with and without it."""

from collections.abc import Iterator

import pytest
from sites import Site, new_site
from slurm import Cluster, missing_programs
from workspaces import Workspace, new_workspace


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    missing = missing_programs()
    if missing:
        pytest.skip(
            f"no SLURM here: {', '.join(missing)} missing; on Debian or Ubuntu, as root: apt-get "
            "install slurm-wlm slurmdbd slurm-wlm-mysql-plugin mariadb-server"
        )
    cluster = Cluster(tmp_path_factory.mktemp("slurm") / "cluster")
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def finished_site(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Site:
    """A finished run on the cluster; shared, so not to be changed."""
    site = new_site(tmp_path_factory.mktemp("finished") / "site", cluster)
    site.snakemake()
    return site


@pytest.fixture(scope="session")
def finished_here(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The same run without the cluster."""
    workspace = new_workspace(tmp_path_factory.mktemp("finished") / "here", {"device": "cpu"})
    workspace.snakemake()
    return workspace
