"""`cuslayer convert`: write the events of a file in another format, and report what the format loses."""

from __future__ import annotations

import argparse

from cuslayer._base import check
from cuslayer.cli.arguments import add_json, integer, path, print_json
from cuslayer.cli.errors import show
from cuslayer.data import Events, read_events, write_events

HELP = "write the events of a file in another format"
DESCRIPTION = """Write the events of a file in another format. The endings of the names are the formats: .bs1, .bs2,
    .bin, .bs3, .npy, .h5, .hdf5 or .aedat; .aedat4, .dat and .raw are only read. What the other format does not keep,
    such as parts of a microsecond, is said; what it cannot hold at all is refused."""
EXAMPLES = (
    "cuslayer convert recordings/1.bs2 one.aedat",
    "cuslayer convert recording.npy short.bs2 --unit us --from-start",
)
JSON = {
    "input": "the file that was read",
    "output": "the file that was written",
    "events": "the number of events",
    "lost": "what the format does not keep, a list of texts",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("input", type=path, metavar="IN", help="file to read")
    parser.add_argument("output", type=path, metavar="OUT", help="file to write or to replace")
    parser.add_argument(
        "--unit", choices=("s", "ms", "us", "ns"), help="unit of the times in IN, for .npy (by default ms) and HDF5"
    )
    parser.add_argument(
        "--max-events", type=integer, metavar="N", help="largest number of events, for compressed files"
    )
    parser.add_argument(
        "--from-start", action="store_true", help="let the first event be at 0 ms, for formats that hold a few seconds"
    )
    add_json(parser, JSON)


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    events = read_events(options.input, unit=options.unit, max_events=options.max_events)
    if options.from_start and len(events):
        events = Events(events.t - events.t.min(), events.x, events.y, events.p)
    write_events(options.output, events)
    lost = losses(events, read_events(options.output, max_events=len(events)))
    if options.json:
        return print_json(dict(zip(JSON, (options.input, options.output, len(events), lost), strict=True)))
    show(f"{check.visible(options.output)}: {len(events)} events, {'; '.join(lost) if lost else 'nothing lost'}")


def losses(events: Events, kept: Events) -> list[str]:
    """Return the differences between events and the same events read from a file.

    >>> from cuslayer.data import Events
    >>> losses(Events([1.0004], [3], [4], [1]), Events([1.0], [3], [4], [1]))
    ['times rounded by up to 0.4 us']
    """
    import numpy as np

    found = []
    if len(kept) != len(events):
        found.append(f"{len(events) - len(kept)} events lost")
    else:
        moved = [not np.array_equal(getattr(events, name), getattr(kept, name)) for name in ("x", "y", "p")]
        first, second = events.t, kept.t
        if any(moved):
            found.append("order of the events changed")
            first, second = np.sort(first), np.sort(second)
        most = abs(first - second).max(initial=0.0)
        if most:
            found.append(f"times rounded by up to {1e3 * most:.3g} us")
    return found
