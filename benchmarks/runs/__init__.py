"""One competitor a module; each prints one line of JSON."""
