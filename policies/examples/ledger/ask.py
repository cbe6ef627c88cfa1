"""Asks the decision point that `make run` started, as a gate would that was shown a certificate.

    python policies/examples/ledger/ask.py connect Database ledger --as spiffe://prod.acme/ns/billing/api
    python policies/examples/ledger/ask.py select Table invoices --user sam --explain

The certificate is issued here, below the local trust domain in `.run/ledger/ca`: who can read that folder can be anyone.
Exit code 0 is an allow, 1 a denial, 4 no answer.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import pdp
from pdp.store.dev_domain import new_key, open_domain

CA = Path(".run/ledger/ca")
HOUR_US = 3_600_000_000


def main() -> int:
    parser = argparse.ArgumentParser(description="Ask the decision point of `make run`.")
    parser.add_argument("action")
    parser.add_argument("type")
    parser.add_argument("id")
    parser.add_argument("--as", dest="workload", help="the SPIFFE ID of the workload that asks")
    parser.add_argument("--user", help="the id of the user who asks")
    parser.add_argument("--grant", help="the handle of a task, as `pdp task open` prints it")
    parser.add_argument("--explain", action="store_true", help="why")
    parser.add_argument("--server", default="127.0.0.1:7070")
    told = parser.parse_args()
    shown = None
    if told.workload is not None:
        issued = open_domain(CA).certificates(told.workload, new_key().public_key(), time.time_ns() // 1000, HOUR_US)
        shown = pdp.Shown(issued, whole_path=True)
    user = None if told.user is None else ("User", told.user)
    request = pdp.Request(told.action, (told.type, told.id), user=user)
    with pdp.Client(told.server, timeout_s=5) as client:
        try:
            if told.explain:
                explained = client.explain(request, shown=shown, grant=told.grant)
                decision = explained.decision
            else:
                decision, explained = client.check(request, shown=shown, grant=told.grant), None
        except pdp.PdpError as error:
            print(error)
            return 4
    print(decision, f"(until {decision.valid_until})" if decision.valid_until else "")
    if decision.because:
        print("  because:", decision.because)
    for rule in explained.rules if explained is not None else ():
        print(f"  {rule.effect} {rule.rule}: {rule.truth}, {rule.place}")
        for part in rule.conjuncts:
            read = ", ".join(f"{source} = {value}" for source, value in part.readings)
            print(f"      {part.truth:5} {part.clause} {part.text}" + (f"   ({read})" if read else ""))
    return 0 if decision.allowed else 1


if __name__ == "__main__":
    raise SystemExit(main())
