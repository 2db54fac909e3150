"""How members decide. Pure."""
