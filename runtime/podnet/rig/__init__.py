"""The rig: what a plugin author tests with, in Nodes of its own.

Everything here calls plugins as a runtime does, or as no runtime should.
"""
