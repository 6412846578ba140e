"""From a file to the checks of what it is."""

from archive import Zip
from pack import Pack
from population import Population


def verify(path, report):
    """Reads the zip and checks what is in it. A population is known by its first file: its files stand in another order."""
    with open(path, "rb") as file:
        kind = Population if file.read(38)[30:] == b"headers/" else Pack
    archive = report.run("1 the zip has the one form", Zip, path, kind is Pack)
    if not archive:
        return None
    found = kind(archive, report)
    found.verify()
    return found
