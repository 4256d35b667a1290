"""Differentiable channel pruning of scene classifiers: the method. Knows nothing of Ray, Optuna or MLflow."""
