"""Many searches at once: Ray Tune runs them, Optuna explores, MLflow tracks, one front comes out."""
