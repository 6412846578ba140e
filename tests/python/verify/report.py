"""What was checked, in order, and what came of it."""

import json

from strict import Refuted, Undecided


class Report:
    """The checks as (status, title, detail), and what else there is to say."""

    def __init__(self, args):
        self.args, self.checks, self.lines = args, [], []

    def run(self, title, check, *values):
        """Makes one check, whatever came of those before (pack, "Verifying": every check that can be done is done); what it returns, or None."""
        try:
            found = check(*values)
            self.checks.append(("ok", title, found if isinstance(found, str) else ""))
            return found
        except Refuted as why:
            self.checks.append(("refuted", title, str(why)))
        except Undecided as why:
            self.checks.append(("undecided", title, str(why)))
        return None

    def undecided(self, title, why):
        self.checks.append(("left out" if self.args.proofs_only and why.startswith("not re") else "undecided", title, why))

    def code(self):
        """0 every check held, 1 refuted, 2 undecided: a refutation outranks 2."""
        states = {status for status, _, _ in self.checks}
        return 1 if "refuted" in states else 2 if "undecided" in states else 0

    def print(self):
        verdict = ["every check held", "REFUTED", "not refuted, but not all of it could be decided"][self.code()]
        if self.args.json:
            checks = [{"status": status, "check": title, "detail": detail} for status, title, detail in self.checks]
            print(json.dumps({"checks": checks, "said": self.lines, "verdict": verdict}, indent=1))
            return
        for status, title, detail in self.checks:
            line = f"{status:<10}{title}{': ' if detail else ''}{detail}"
            print("".join(c if c.isprintable() else f"\\u{{{ord(c):x}}}" for c in line))
        print("\n".join(["", *self.lines, verdict]))
