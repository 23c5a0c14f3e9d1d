"""What was found, written down: a module for each form, ``forms`` knows them all."""
