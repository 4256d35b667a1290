"""What a study tells MLflow, and MLflow's registry."""
