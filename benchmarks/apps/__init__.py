"""The applications under measurement, each written as its framework's own documentation does it."""
