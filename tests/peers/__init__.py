"""Other programs read what we write and agree with what we compute; run by `make test-peers`, with the extra `peers`."""
