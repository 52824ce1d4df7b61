"""Measures of scores: statistics, voice leading, copies, resemblance."""
