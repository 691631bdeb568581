"""Features computed once per image, and regressors on them: what the feature-based methods share."""
