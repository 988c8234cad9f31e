"""Scripts that let a shell complete a command line, made from the parser of the arguments.

They hold all words, so that the Tab key starts no Python. `shtab`, which makes such scripts too, knows no fish, and
would be another library to install.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from cuslayer.training.named import names

# What the value of an argument is, by its name in the help.
_FILES = ("FILE", "CONFIG", "IN", "OUT", "PAGE", "SWEEP", "RUN")
_FOLDERS = ("DIR",)


@dataclass(frozen=True)
class Argument:
    """An option or a positional argument.

    Attributes:
        flags: the names of an option; () for a positional argument.
        help: what it is, in one line.
        value: the name of its value; None for an option without one.
        words: the words that the value may be; () for any.
        several: whether there may be several values.
    """

    flags: tuple[str, ...]
    help: str
    value: str | None
    words: tuple[str, ...]
    several: bool

    @property
    def files(self) -> bool:
        """Whether the value is the name of a file or a folder."""
        return self.value in _FILES

    @property
    def folders(self) -> bool:
        """Whether the value is the name of a folder."""
        return self.value in _FOLDERS


@dataclass(frozen=True)
class Command:
    """A command: its name, what it does, its options and its positional arguments."""

    name: str
    help: str
    options: tuple[Argument, ...]
    positional: tuple[Argument, ...]


def commands_of(parser: argparse.ArgumentParser) -> tuple[Command, ...]:
    """Return the commands of a parser; the first, without a name, has the options of the program itself."""
    own = _of(parser, "", "")
    (tree,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    helps = {action.dest: action.help or "" for action in tree._get_subactions()}
    return (own, *(_of(each, name, helps[name]) for name, each in tree.choices.items()))


def _of(parser: argparse.ArgumentParser, name: str, text: str) -> Command:
    found = [_argument(a) for a in parser._actions if not isinstance(a, argparse._SubParsersAction)]
    return Command(name, text, tuple(a for a in found if a.flags), tuple(a for a in found if not a.flags))


def _argument(action: argparse.Action) -> Argument:
    value = None if action.nargs == 0 else str(action.metavar or action.dest.upper())
    words = tuple(map(str, action.choices or (names() if value == "CONFIG" else ())))
    text = " ".join((action.help or "").split())
    return Argument(tuple(action.option_strings), text, value, words, action.nargs in ("*", "+"))


def _quoted(text: str) -> str:
    """Return a text as a word of a shell, in single quotes, which all three read alike where it has none itself."""
    return "'" + text.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}") + "'"


def bash(commands: tuple[Command, ...]) -> str:
    """Return the script for bash 3.2 and later."""
    values, words, files = [], [], []
    for command in commands:
        for option in command.options:
            if option.value is not None:
                pattern = "|".join(f'"{command.name} {flag}"' for flag in option.flags)
                values.append(f"        {pattern}) {_bash_value(option)}; return ;;")
        flags = [flag for option in command.options for flag in option.flags]
        first = [each.name for each in commands[1:]] if not command.name else []
        first += [word for each in command.positional for word in each.words]
        words.append(f'        "{command.name}") options="{" ".join(flags)}" words="{" ".join(first)}" ;;')
        if any(each.files for each in command.positional):
            files.append(command.name)
    return f"""# Completion of cuslayer's command line for bash.
_cuslayer() {{
    local IFS=$' \\t\\n' command= options= words= i
    local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}"
    # --option=value is three words.
    if [ "$word" = "=" ]; then
        word=
    elif [ "$before" = "=" ]; then
        before="${{COMP_WORDS[COMP_CWORD-2]}}"
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "${{COMP_WORDS[i]}}" in -*) ;; *) command="${{COMP_WORDS[i]}}"; break ;; esac
    done
    COMPREPLY=()
    case "$command $before" in
{chr(10).join(values)}
    esac
    case "$command" in
{chr(10).join(words)}
    esac
    case "$word" in
        -*) COMPREPLY=($(compgen -W "$options" -- "$word")); return ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    case "$command" in
        {"|".join(files)}) IFS=$'\\n'; COMPREPLY+=($(compgen -f -- "$word")) ;;
    esac
}}
complete -o filenames -F _cuslayer cuslayer
"""


def _bash_value(option: Argument) -> str:
    if option.words:
        return f'COMPREPLY=($(compgen -W "{" ".join(option.words)}" -- "$word"))'
    if option.files or option.folders:
        return f"IFS=$'\\n'; COMPREPLY=($(compgen -{'f' if option.files else 'd'} -- \"$word\"))"
    return ":"  # a number, or a word of the user's own


def zsh(commands: tuple[Command, ...]) -> str:
    """Return the script for zsh."""
    own, *others = commands
    names = "\n".join(f"                {_quoted(f'{c.name}:{_zsh_text(c.help)}')}" for c in others)
    cases = "\n".join(
        f"                {command.name}) _arguments {' '.join(map(_zsh, (*command.options, *command.positional)))} ;;"
        for command in others
    )
    return f"""#compdef cuslayer
# Completion of cuslayer's command line for zsh.
_cuslayer() {{
    local curcontext="$curcontext" state line
    typeset -A opt_args
    _arguments -C {" ".join(map(_zsh, own.options))} '1:command:->command' '*::argument:->argument'
    case $state in
        command)
            local -a commands
            commands=(
{names}
            )
            _describe command commands
            ;;
        argument)
            case $words[1] in
{cases}
            esac
            ;;
    esac
}}
if [ "$funcstack[1]" = "_cuslayer" ]; then
    _cuslayer "$@"
else
    compdef _cuslayer cuslayer
fi
"""


def _zsh(argument: Argument) -> str:
    value = f":{argument.value}:{_zsh_values(argument)}" if argument.value is not None else ""
    if not argument.flags:
        return _quoted(f"{'*' if argument.several else ''}{value}")
    text = f"[{_zsh_text(argument.help)}]"
    return " ".join(_quoted(f"{flag}{text}{value}") for flag in argument.flags)


def _zsh_values(argument: Argument) -> str:
    words = f"({' '.join(argument.words)})"
    if argument.files:
        return f"{{compadd -- {' '.join(argument.words)}; _files}}" if argument.words else "_files"
    if argument.folders:
        return "_files -/"
    return words if argument.words else " "


def _zsh_text(text: str) -> str:
    for sign in "\\:[]":
        text = text.replace(sign, f"\\{sign}")
    return text


def fish(commands: tuple[Command, ...]) -> str:
    """Return the script for fish."""
    lines = ["# Completion of cuslayer's command line for fish."]
    for command in commands:
        seen = f"-n '__fish_seen_subcommand_from {command.name}'" if command.name else "-n __fish_use_subcommand"
        if command.name:
            about = f"-a {command.name} -d {_quoted(command.help)}"
            lines.append(f"complete -c cuslayer -f -n __fish_use_subcommand {about}")
        for option in command.options:
            flags = " ".join(f"-l {f[2:]}" if f.startswith("--") else f"-s {f[1:]}" for f in option.flags)
            value = "" if option.value is None else f" {_fish_value(option)}"
            lines.append(f"complete -c cuslayer {seen} {flags}{value} -d {_quoted(option.help)}")
        for each in command.positional:
            if each.words:
                lines.append(f"complete -c cuslayer {seen} -a {_quoted(' '.join(each.words))}")
        if command.name and not any(each.files for each in command.positional):
            lines.append(f"complete -c cuslayer {seen} -f")
    return "\n".join(lines) + "\n"


def _fish_value(option: Argument) -> str:
    if option.words:
        return f"-xa {_quoted(' '.join(option.words))}"
    if option.folders:
        return "-xa '(__fish_complete_directories)'"
    return "-rF" if option.files else "-x"


SHELLS: dict[str, Callable[[tuple[Command, ...]], str]] = {"bash": bash, "zsh": zsh, "fish": fish}
