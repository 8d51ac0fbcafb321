"""Groups of commands: parse, call one function, show what came of it. Imports nothing heavy."""
