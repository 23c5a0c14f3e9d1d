"""The kernel's doors: the only rooms that know netlink, namespaces, sysctls and nft.

Functions act on the network namespace of the calling thread.  Failures of the kernel are
OSErrors here (:class:`podnet.kernel.netlink.NetlinkError` is one), with the object's name
in them; whoever calls gives them their meaning.
"""
