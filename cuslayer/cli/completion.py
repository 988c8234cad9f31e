"""`cuslayer completion`: completion of commands, options and files by the Tab key of bash, zsh and fish."""

from __future__ import annotations

import argparse

from cuslayer._base.extras import optional

HELP = "print a script for a shell, which then completes commands, options and files"
DESCRIPTION = """Print a script for a shell, which then completes commands, options and files by the Tab key. bash: eval
    "$(cuslayer completion bash)" in ~/.bashrc. zsh: eval "$(cuslayer completion zsh)" in ~/.zshrc, after compinit.
    fish: save it as ~/.config/fish/completions/cuslayer.fish. It needs argcomplete: pip install
    'cuslayer[completion]'."""
EXAMPLES = ('eval "$(cuslayer completion bash)"', "cuslayer completion fish > ~/.config/fish/completions/cuslayer.fish")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("shell", metavar="SHELL", choices=("bash", "zsh", "fish"), help="bash, zsh or fish")


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    print(optional("argcomplete", "completion").shellcode(["cuslayer"], shell=options.shell))
