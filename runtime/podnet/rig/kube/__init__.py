"""A Kubernetes API for plugins that ask one, and nothing around it: no kubelet, no scheduler."""
