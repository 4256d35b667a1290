"""From what a user asks for to a point that may be registered, and what is told of it."""
