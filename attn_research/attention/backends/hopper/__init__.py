"""Flash attention kernels for Hopper GPUs, in Pallas Mosaic GPU."""
