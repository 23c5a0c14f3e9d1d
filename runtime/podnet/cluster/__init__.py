"""Clusters: several Nodes, the underlay between them, a lease store and their managers.

From the ground up: :mod:`record` (what a cluster is, pure), :mod:`underlay`, :mod:`managers`
and :mod:`etcd` (what runs in a Node), :mod:`matrix` (who reaches whom), :mod:`clusters` (all
of them, on record), :mod:`faults` (what breaks them), :mod:`file` and :mod:`steps` (what a
YAML file says of one).  A manager is met only as a process.
"""
