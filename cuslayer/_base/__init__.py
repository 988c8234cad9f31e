"""What everything else stands on: checks of arguments, files, extras, compiled loops."""
