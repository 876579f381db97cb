"""One video on one server: what is asked becomes requests, and what comes back becomes results."""
