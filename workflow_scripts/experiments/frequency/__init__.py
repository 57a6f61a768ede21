"""Term frequency: terms and questions about them."""
