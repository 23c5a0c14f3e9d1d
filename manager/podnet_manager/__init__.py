"""podnet's network manager: leases a subnet for its Node and routes to the others (to come)."""
