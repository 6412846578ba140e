"""A second verifier of UPM Ledger's evidence packs and populations, written from the published format alone.

It shares no code with the ledger and needs nothing but Python's standard library (ML-DSA-44 cosignatures want `cryptography`). Its sources are
docs/evidence-pack.md ("pack"), docs/population.md ("population"), docs/log-format.md ("log"), the rules and the event's schema below schemas/,
and the specifications that those pages name. The section behind a check stands in the docstring of the function that makes it.

    python3 tests/python/verify PACK.zip --key VKEY

Exit code: 0 every check held; 1 refuted; 2 something could not be decided. Of a pack this verifier never derives change.json and index.html again, nor
masks payloads anew: the pages do not give these byte for byte. It lists them as undecided, so that a sound pack ends with 2; with `--proofs-only` they
do not count, and a sound pack ends with 0. Populations are decided whole.
"""

import argparse
import os
import sys

from pack import Pack
from population import Population, check_members
from read import verify
from report import Report
from strict import Refuted, Undecided

SCHEMAS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "schemas")


def main():
    parser = argparse.ArgumentParser(prog="verify", description=__doc__.split("\n")[0])
    parser.add_argument("file", help="an evidence pack or a population")
    parser.add_argument("--key", required=True, help="the log's key, from elsewhere: vkey or PEM, as a file or as text")
    parser.add_argument("--schemas", default=SCHEMAS, help="where the published rules and schemas are")
    parser.add_argument("--population", help="a population that the pack is held against")
    parser.add_argument("--witness-policy", help="whose cosignatures count (C2SP tlog-policy)")
    parser.add_argument("--known-checkpoint", help="a checkpoint of the log that you kept")
    parser.add_argument("--consistency", help="the proof between it and this one (body of a tlog-witness add-checkpoint request)")
    parser.add_argument("--require", choices=["kept-checkpoint", "witnessed"], help="refute what rests on less")
    parser.add_argument("--proofs-only", action="store_true", help="do not count what this verifier never derives again")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    args = parser.parse_args()
    report = Report(args)
    found = verify(args.file, report)
    if args.population:
        others = Report(argparse.Namespace(**{**vars(args), "witness_policy": None, "known_checkpoint": None, "require": None}))
        population = verify(args.population, others)
        report.checks += [(status, f"population: {title}", detail) for status, title, detail in others.checks]
        if isinstance(found, Pack) and found.entries and isinstance(population, Population) and population.lines is not None:
            report.run("the pack has what the population shows of its change", check_members, found, population)
        else:
            report.undecided("the pack has what the population shows of its change", "not a readable pack and population")
    report.print()
    return report.code()


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")
    try:
        sys.exit(main())
    except (Refuted, Undecided, OSError) as why:
        print(f"could not decide: {why}", file=sys.stderr)
        sys.exit(2)
