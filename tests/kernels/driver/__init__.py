"""A CUDA driver of our own: devices that exist only in memory, PTX interpreted, and streams that really defer."""
