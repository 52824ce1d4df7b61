"""Composing with a trained network: sampling, primers, harmonising, conditions."""
