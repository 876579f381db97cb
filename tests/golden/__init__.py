"""Golden scenarios: what an official predictor answered, replayed through a real server. `make golden` runs them for people outside."""
