"""podnet: a container runtime network harness, a mini-kubelet for CNI.

The floor plan is in the README; start reading at :mod:`podnet.cni`.
"""
