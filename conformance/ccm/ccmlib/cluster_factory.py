"""Clusters are kept in no folder to load them from: whoever asks makes a new one."""

from ccmlib.common import CCMError


class ClusterFactory:
    @staticmethod
    def load(path, name):
        raise CCMError(f"no cluster is kept at {path}/{name}")
