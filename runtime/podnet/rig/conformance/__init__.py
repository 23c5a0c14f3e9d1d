"""Conformance: is a plugin what the spec says a plugin is?

``case`` is what a case is, ``cases_*`` are all of them by subject, ``subject`` is what a plugin
under test needs, ``trial`` is what a case works with, ``suite`` runs them, ``reports`` tell.
"""
