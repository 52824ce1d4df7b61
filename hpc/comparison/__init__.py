"""Runs side by side: convergence and speed."""
