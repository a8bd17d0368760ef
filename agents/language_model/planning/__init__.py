"""What a language-model agent will cost, before it is built: used by ``glam plan`` alone."""
