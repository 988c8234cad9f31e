"""The base of all other packages: checks of arguments, files, extras, compiled loops."""
