"""Stand-ins for parts that a unit test cannot have, with the signatures of the real ones."""
