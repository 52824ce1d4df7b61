"""The settings of a training run, and the flags made from them."""
