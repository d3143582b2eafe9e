"""Fused kernels for CUDA. Imported only where triton is installed."""
