#!/usr/bin/env bash
# The decision point on its embedded default, with the ledger example: a local trust domain, tasks in SQLite, loopback only.
# It runs until it is stopped. BIN is where the commands are; without it, they are taken from the PATH.
set -euo pipefail
cd "$(dirname "$0")/../../.."
BIN=${BIN:+$BIN/}
RUN=.run/ledger
mkdir -p "$RUN"
if [ ! -e "$RUN/ca/root.pem" ]; then
  "${BIN}pdp" dev ca "$RUN/ca" --trust-domain prod.acme > /dev/null
fi
cat <<TEXT
The ledger example (policies/examples/ledger). In another terminal, in this folder:

  # Billing opens a session with a database of its own tier: allowed.
  ${BIN}python policies/examples/ledger/ask.py connect Database ledger --as spiffe://prod.acme/ns/billing/api

  # With the sandbox, which is of another tier: denied. And why.
  ${BIN}python policies/examples/ledger/ask.py connect Database sandbox --as spiffe://prod.acme/ns/billing/api
  ${BIN}python policies/examples/ledger/ask.py connect Database sandbox --as spiffe://prod.acme/ns/billing/api --explain

  # Reading takes a task. CI opens one; it waits for the approval of a lead, as the policy says.
  ${BIN}pdp task open invoicing --caller spiffe://prod.acme/ci/nightly --holder spiffe://prod.acme/ns/billing/api --set tenant=acme --holder-cert $RUN/billing/svid.pem
  ${BIN}pdp task list --caller spiffe://prod.acme/ci/nightly

  # What is in force; metrics; this decision point behind Envoy (a template, with all of its settings).
  ${BIN}pdp status
  curl -s http://127.0.0.1:7071/metrics
  cat deploy/envoy/http.yaml

  # The whole story with a real Envoy:   make story          Every step without a server:   make walk

TEXT
"${BIN}pdp" dev svid spiffe://prod.acme/ns/billing/api --ca "$RUN/ca" --out "$RUN/billing" > /dev/null 2>&1
export PDP_DEVELOPMENT_TRUST_DOMAIN=prod.acme PDP_DEVELOPMENT_CA="$RUN/ca"
exec "${BIN}pdp" serve --policies policies/examples/ledger "$@"
