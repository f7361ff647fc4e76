"""Training: optimiser steps, devices, run folders, progress."""
