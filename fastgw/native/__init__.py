"""Declarations of ext/ for the data plane (``*.pxd``) and the cffi module for the control side (``ffi``, ``lib``)."""
