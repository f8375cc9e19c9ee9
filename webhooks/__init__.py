"""How we tell people: signing and delivery."""
