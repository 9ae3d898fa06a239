"""A writer to be killed: ``python -m benchmarks.stands.live_writer ARTEFACT NUMBER COLUMN``.

It takes in fifty events of a new user, brings an item, and says so by a number on a line, over and
over, until it is killed.
"""

from __future__ import annotations

import sys

from twofold.engine import Engine

EVENTS = 50


def main(artefact: str, start: int, column: str) -> None:
    """Write until killed.

    Parameters
    ----------
    artefact
        Folder of the artefact.
    start
        The first number.
    column
        A column of whole numbers of the items, which is to hold the call's number.
    """
    with Engine.load(artefact, runtime="float32") as engine:
        items = engine.items["item_id"].to_list()
        number = start
        while True:
            user = f"killed-{number}"
            rows = [
                {"user_id": user, "item_id": items[(7 * number + n) % len(items)]}
                for n in range(EVENTS)
            ]
            engine.add_events(rows)
            # An item without a text needs no model, which would take seconds to load.
            engine.add_items([{"item_id": user, column: number}])
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()
            number += 1


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
