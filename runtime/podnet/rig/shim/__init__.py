"""The shim: what stands in front of a plugin, runs it, passes everything on and writes it down.

A program of its own, copied to where it is needed and started by whatever runtime there is.
It imports nothing else of podnet, and of the standard library only what needs no time, since
the runtime waits.  Nothing that goes wrong in here may ever reach the plugin or the runtime.
"""
