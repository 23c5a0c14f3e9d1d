"""podnet in pytest: Nodes, callers, stubs and faults as fixtures; what happened, when a test fails.

The entrance is :mod:`podnet.pytest_plugin.plugin`; docs/testing.md is the page for people.
"""
