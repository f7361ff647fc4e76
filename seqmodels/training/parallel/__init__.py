"""Devices and processes: meshes, transfers, collectives."""
