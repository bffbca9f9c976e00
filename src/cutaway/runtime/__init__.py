"""What makes the same model fast: stores (KV caches) and attention kernels. Speed never redefines a layer."""
