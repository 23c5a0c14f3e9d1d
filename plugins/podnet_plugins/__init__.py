"""podnet's own CNI plugins, and the SDK they are written with."""
