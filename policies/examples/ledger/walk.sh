#!/usr/bin/env bash
# The ledger example from end to end: checked, tested, decided and explained, once allowed and three times denied.
# BIN is where the command `pdp` is; without it, it is taken from the PATH.
set -uo pipefail
cd "$(dirname "$0")"
BIN=${BIN:+$(cd "../../../$BIN" && pwd)/}
failed=0

step() { # what it shows, the exit code it must end with, the command
  local shows=$1 wanted=$2
  shift 2
  printf '\n# %s\n$ pdp %s\n' "$shows" "$*"
  "${BIN}pdp" "$@"
  local code=$?
  if [ "$code" -ne "$wanted" ]; then
    printf 'expected exit code %s, found %s\n' "$wanted" "$code"
    failed=1
  fi
}

step 'The policies compile.' 0 check .
step 'Their tests pass, and each condition was seen true and false.' 0 test . --coverage --threshold 100
step 'In its task, with its key: allowed, and the answer says until when.' 0 \
  explain . --request requests/allowed.json --at 2026-01-01T09:00:00Z
step 'Ten minutes after the task began the same request is denied.' 1 \
  eval . --request requests/allowed.json --at 2026-01-01T09:05:00Z
step 'After the end of the task it is denied before any rule is asked.' 1 \
  eval . --request requests/allowed.json --at 2026-01-01T09:10:00Z
step 'A shell in the same pod, with the same grant and key, asks for personal data.' 1 \
  explain . --request requests/denied.json --at 2026-01-01T09:00:00Z
exit "$failed"
