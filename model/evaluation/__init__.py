"""How good a model is: likelihoods, and composed pieces beside real ones."""
