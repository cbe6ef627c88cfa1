"""Every way in which what a gate or a client sends is refused before anything is decided: one code each, with its rule."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """What a code stands for: the number of the rule, the HTTP status that Envoy is told, and the rule in words."""

    number: str
    status: int
    says: str


class Unfit(Exception):
    """What came is not a question that can be put. `code` is stable and in `UNFIT`; `detail` is ours, never theirs."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail

    @property
    def rule(self) -> Rule:
        return UNFIT[self.code]

    @property
    def message(self) -> str:
        return f"{self.rule.says} ({self.detail})" if self.detail else self.rule.says

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


#: Numbers: E-, N- and L- are rules of the design, a plain number is a row of the fault catalogue.
_TABLE = """
malformed                 E-12 400 the message is not a CheckRequest
too_large                 47   400 the message, or a part of it, is larger than is accepted
empty_request             E-12 400 there is neither an HTTP request nor the certificate of a peer

unknown_gate              E-1  403 the caller is not a gate that is configured
revoked                   E-1  403 the gate, its certificate or its trust domain was frozen or revoked
destination_not_asserted  E-1  403 the gate may not stand before this destination
user_not_asserted         E-1  403 the gate may not name users of this type, or at all
value_not_asserted        L9   403 only a gate can say this, and the caller is none
location_not_asserted     E-1  403 the gate may not say where a request came from

certificate_unreadable    E-2  401 the certificate that the gate sent is not one certificate in URL-encoded PEM
xfcc_several_ids          E-4  401 the forwarded certificate has more than one URI among its names

ambiguous_headers         E-7  400 the headers came in both forms
malformed_header          20   400 a header has a name or a value that is no header's
too_many_headers          E-7  400 there are too many headers
underscore_header         18   400 a header differs from a credential or an identity only by an underscore
several_credentials       E-7  401 a credential was sent more than once
malformed_credential      E-7  401 a header for a credential holds something else
credential_too_large      47   401 a header for a credential is larger than is accepted

conflicting_host          15   400 the request names two hosts
conflicting_request       E-8  400 the request names two methods or two paths
malformed_host            14   400 the host holds something that is not a host
malformed_path            E-8  400 the path is not one that can be read in one way
non_canonical_path        E-8  400 the path has an empty segment, a dot segment, parameters, or hides a separator
connect_with_path         E-8  400 a CONNECT is for a host; its path may not reach the back end
malformed_query           8    400 the query is not one that can be read in one way
no_route                  E-8  403 no route of the policy set says what this request means
missing_value             E-8  400 the request lacks a value that its route reads
ambiguous_value           16   400 the request has a value more than once that its route reads as one

no_peer_certificate       E-10 401 a connection without the certificate of its peer has no subject
no_destination            N-3  403 the gate did not say, with its own certificate, before whom it stands

not_canonical             50   400 a field or a name stands twice, or something is not in its shortest form
must_understand           49   400 a field is marked as one that must be understood, and is not known here
missing_field             53   400 a field that is needed is not there
absent_value              35   400 a value has no kind; what is absent is left out
malformed_value           B    400 a value is not what its kind can hold
too_deep                  46   400 a value is nested too deep
too_many_values           47   400 there are more values than are accepted, in a question or in all of a message
too_many_items            47   400 there are more items than are accepted
binding_unsupported       B    400 no gate can show a session or a process to a server, so such a grant would be of no use
conflicting_fields        L9   400 two fields are given of which only one can be true
bad_correlation_id        A-4  400 a correlation id is 1 to 128 printable ASCII characters
"""


def _table() -> dict[str, Rule]:
    rows = [line.split(None, 3) for line in _TABLE.strip().splitlines() if line]
    assert len({row[0] for row in rows}) == len(rows)
    return {code: Rule(number, int(status), says) for code, number, status, says in rows}


#: Every code, in the order of the rules. The manual lists the same table, and a test compares the two.
UNFIT: dict[str, Rule] = _table()
