"""Flash attention kernels for NVIDIA GPUs, in Pallas."""
