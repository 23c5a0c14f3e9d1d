"""The command line: parse, call, print.  The only rooms that know typer and draw."""
