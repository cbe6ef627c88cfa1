"""Every reason for which a grant is not given, not changed or not accepted, in one table.

`check` says that it can be the reason of a denial; `step`, that it can refuse a step of a grant's life. Those of them that
say "this was not made for you" are `BINDING_REASONS` of the record, and make a `reuse_attempt`.
"""

from __future__ import annotations

from dataclasses import dataclass

from language import FOREVER, Refusal, printable


@dataclass(frozen=True, slots=True)
class Reason:
    where: frozenset[str]  # check, step
    says: str


class Refused(Refusal):
    """A refusal with a code of the table. As the reason of a denial it is the language's own `Refusal`."""

    def __init__(self, code: str, detail: str = "", until: int = FOREVER) -> None:
        says = REASONS[code].says
        super().__init__(code, f"{says}: {printable(detail)}" if detail else says, until)
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


_TABLE = """
grant_unknown         check,step  there is no such grant
grant_unreadable      check,step  the record of the grant, or of one above it, cannot be read or does not fit the others
grants_stale          check       what is known of grants was not confirmed within its bound
store_unavailable     check,step  the store of grants cannot be read or written now
task_ended            check,step  the grant, or one above it, has ended
task_suspended        check,step  the grant, or one above it, is suspended
task_not_active       check,step  the grant was not given yet
task_not_started      check       the task starts later than this moment
task_misheld          check       the grant belongs to another workload
ambiguous_task        check       several grants fit this connection, and nothing on it says which is meant
grant_unbound         check,step  the grant is not tied to a key yet
binding_unknown       check,step  the grant is tied to something that this version does not understand
proof_missing         check,step  possession of the key that the grant is tied to was not shown
wrong_key             check,step  another key was shown than the one that the grant is tied to
wrong_session         check       the grant is tied to another session
wrong_process         check       the grant is tied to another process
wrong_gate            check       the grant, or one above it, is not for this gate
wrong_destination     check       the grant, or one above it, is not for this destination
wrong_environment     check,step  the grant was given in another environment
wrong_audience        check,step  the grant is for another decision point
grant_consumed        check       the grant was used as often as it may be
grant_outdated        check,step  the policy of today would not give this grant
revoked               check,step  something that the grant stands on was revoked

no_workload           step        only a verified workload can do this
unknown_kind          step        policy declares no such kind of task
wrong_opener          step        this workload may not open a task of this kind
holder_is_opener      step        a task of this kind is not opened by its own holder
holder_refused        step        this workload may not hold a task of this kind
wrong_holder          step        this workload is not the holder of the grant
not_yours             step        only those of the task who are named for this step may take it
not_operator          step        only an operator may do this
fact_from_holder      step        a holder may set only what the declaration says is `from holder`
fact_changed          step        an opener may not change what the holder said, and a child carries what its task carries
fact_malformed        step        a fact is missing, not declared, or of the wrong type
scope_malformed       step        the scope names an action, a type or an id that does not exist
scope_empty           step        the scope covers nothing
scope_too_wide        step        the scope covers more than the declaration of the task
lasting_malformed     step        the time asked for is not a time longer than nothing
lasting_too_long      step        the task may not last as long as was asked
uses_malformed        step        the number of uses is not a number above nothing
binding_malformed     step        a binding is not of its form
bearer_refused        step        a grant is tied to a key; one that anybody could carry is not given
id_malformed          step        an id is not at least 128 random bits in base64url
id_taken              step        there is a grant or task with this id already
workload_frozen       step        the workload is frozen
delegation_too_deep   step        no further level may be delegated
child_too_wide        step        a child may not cover more than its parent
child_too_long        step        a child may not last longer than its parent
child_less_bound      step        a child is tied to at least what its parent is tied to
child_key_known       step        a child has a key that no grant above it has
child_other_kind      step        a child is of the kind of its parent
not_pending           step        the grant does not wait for this
no_approver           step        only a person who was verified by a token of a configured issuer can approve
approver_asserted     step        somebody else says who the approver is
self_approval         step        the approver asked for the grant, is in its chain, or speaks through one who did
wrong_approver        step        the approver is not one of those whose approval is needed
already_approved      step        this person has approved already
agreement_changed     step        what was approved is not what is asked for
approval_consumed     step        the approval was used before
approval_too_long     step        an approval does not count for as long as was asked
renewal_too_wide      step        a renewal changes the key and nothing else
mark_unknown          step        there is no such freeze or revocation
noun_unknown          step        this cannot be revoked
not_frozen            step        the workload is not frozen
still_frozen          step        a freeze is lifted by a thaw
reason_missing        step        a freeze, a revocation and a suspension say why
not_recorded          step        the step cannot be recorded, so it was not taken
"""


def _table() -> dict[str, Reason]:
    rows = [line.split(None, 2) for line in _TABLE.strip().splitlines() if line]
    found = {code: Reason(frozenset(where.split(",")), says) for code, where, says in rows}
    if len(found) != len(rows):
        raise ValueError("a code stands twice in the table")
    return found


#: Every code. The manual lists the same table, and a test compares the two.
REASONS: dict[str, Reason] = _table()
