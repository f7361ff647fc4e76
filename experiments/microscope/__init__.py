"""The microscope: gates, gradients and interventions on a trained model, as one HTML page."""
