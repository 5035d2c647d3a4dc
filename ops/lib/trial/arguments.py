"""Arguments that several commands have, each declared in one way and with its default in its help."""

import argparse


def parser(prog, description):
    """A parser whose description is printed as it is written."""
    return argparse.ArgumentParser(
        prog=prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def number(parser, name, default, text, kind=int, letter="N"):
    """An argument that takes a number."""
    parser.add_argument(name, type=kind, default=default, metavar=letter, help=f"{text} [{default}]")


def keep(parser, directory):
    parser.add_argument("--keep", action="store_true", help=f"keep {directory}/ even when everything is in order")


def parse(parser, *at_least_one):
    """The arguments given; the named ones must be 1 or more."""
    given = parser.parse_args()
    if any(getattr(given, name) < 1 for name in at_least_one):
        parser.error(" and ".join(f"--{name}" for name in at_least_one) + " must be at least 1")
    return given
