"""Problems, and graders that judge answers to them."""
