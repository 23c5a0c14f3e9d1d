"""The table."""
from tests.plugins.differential.lives import Case
DUAL = {"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00:1::/64"}]], "routes": [{"dst": "0.0.0.0/0"}]}
CASES = [Case("bridge dual stack", ({"type":"bridge","bridge":"br0","isGateway":True,"ipam":DUAL},))]
