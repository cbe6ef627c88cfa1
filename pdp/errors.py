"""The one exception of the decision point: this call cannot proceed, for the reason that its code says."""

from __future__ import annotations

#: Every code that a `PdpError` can carry.
ERROR_CODES = {
    "invalid_request": "what was asked is not a request: a value is missing, unknown or of the wrong type",
    "invalid_data": "entities or relations do not fit the vocabulary",
    "invalid_file": "a file cannot be read, or is not what it should be",
    "failing_tests": "a policy set's own tests fail, so that it was not put into force",
    "no_rules": "a policy set without a rule, by which everything would be denied, was not put into force",
    "other_policies": "what stands on disk is another policy set than the one in force, so that it was not taken",
    "clock_stepped_back": "the wall clock was set back, and nothing that ends can be trusted to have ended",
    "trust_unavailable": "a source of trust bundles cannot be read now; what was trusted stays so until it is stale",
    "not_recorded": "a revocation could not be recorded, and holds; or a lift could not be, and was not made",
    "record_locked": "a record is being written by another process",
    "record_incomplete": "a server ended, and some of what it had decided is not in its record",
    "issuer_keys_unusable": "no key that signs handles of grants can be used now",
    "issuer_keys_rotating": "a next key for handles is published already, and signs when its time comes",
    "address_unavailable": "a server cannot listen where its configuration says",
    "invalid_configuration": "the configuration of a server has an unknown setting, or a value that cannot be",
    "unsafe_configuration": "the configuration of a server would run, and would not be safe",
    "restart_needed": "the configuration of a server changed in a setting that is read when a process starts",
    "unreachable": "no decision point answered; nothing was decided",
    "deadline_exceeded": "no decision was made in time",
    "unauthenticated": "the decision point does not accept who asks",
    "certificate_ended": "our own certificate has ended, and no newer one could be put in its place; nothing was decided",
    "server_id_unsupported": "the SPIFFE ID of a server cannot be verified by this transport, so there is no connection",
    "not_permitted": "the decision point does not let this caller ask this",
    "overloaded": "the decision point has too much to do",
    "server_error": "the decision point failed; nothing was decided",
    "invalid_answer": "a decision point answered with something that is no answer; nothing was decided",
    "store_unavailable": "the store of grants cannot be opened, or is locked",
    "invalid_argument": "a function was called with something that it does not take",
}


class PdpError(Exception):
    """A refusal to decide. It is never a decision: code that asked cannot mistake it for one."""

    def __init__(self, code: str, message: str) -> None:
        assert code in ERROR_CODES, code
        super().__init__(message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class RecordIncomplete(PdpError):
    """Everything was answered, and not everything is written down."""

    def __init__(self, message: str) -> None:
        super().__init__("record_incomplete", message)
