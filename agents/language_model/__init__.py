"""Language models as policies: GFlan-T5, NPAE-Flan-T5 and their relatives."""
