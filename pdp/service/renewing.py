"""A grant is tied to another key: the same scope, the same task, the same end. Certificates rotate; tasks do not begin anew.

Both keys are shown for this step, the old one and the new. A grant that an opener gave without a key is tied to its holder's
first one here.
"""

from __future__ import annotations

from dataclasses import replace

from pdp.grants.grant import Bindings, State
from pdp.grants.index import Index
from pdp.grants.issue import refuse_bearer, refuse_bindings, refuse_wider
from pdp.grants.life import take
from pdp.grants.reasons import Refused
from pdp.grants.redeem import refuse_elsewhere, refuse_over
from pdp.grants.store import Expect, Put, Unwritten
from pdp.service.caller import Caller, Moment, Rules
from pdp.service.giving import refuse_to_give
from pdp.service.marked import refuse_marked
from pdp.service.plan import Plan, tell


def plan_renew(index: Index, moment: Moment, caller: Caller, grant_id: str, binding: Bindings, rules: Rules) -> Plan:
    chain = index.chain(grant_id)
    grant, above = chain[-1], chain[:-1]
    if caller.demand_workload() != grant.holder:
        raise Refused("wrong_holder")
    refuse_elsewhere(chain, rules.environment, rules.audience)
    refuse_over(chain, moment.now)
    if not grant.binding.is_bearer or grant.binding.unknown:
        caller.demand_keys(grant.binding)
    refuse_bindings(binding)
    refuse_bearer(binding)
    caller.demand_keys(binding)
    if _without_keys(binding) != _without_keys(grant.binding) and not _is_first(grant.binding, binding):
        raise Refused("renewal_too_wide")
    if grant.binding.key is not None and binding.key is None:
        raise Refused("renewal_too_wide", "a grant that has a task key keeps one")
    if grant.binding.key is not None and grant.binding.certificate is not None and binding.certificate is None:
        raise Refused("renewal_too_wide", "a grant that has a certificate and a task key keeps both")
    rebound = replace(grant, binding=binding)
    refuse_to_give(rebound, (), moment)
    if above:
        refuse_wider(rebound, above, moment.world)
    _refuse_key_below(index, grant_id, binding)
    after = take("renewed", rebound, State.ACTIVE, generation=moment.generation)
    expects = refuse_marked(index, (*above, after), caller)
    expects += tuple(Expect(each.id, each.revision) for each in above)
    step = tell("renewed", after, (*above, after), caller, moment.now, first=grant.binding.is_bearer)
    unwritten = Unwritten(index.revision)  # else a child could come in between, with the key that this takes
    return Plan((Put(after, grant.revision), *expects, unwritten), (step,), grant.id, (grant.id,))


def _without_keys(binding: Bindings) -> Bindings:
    return replace(binding, certificate=None, key=None)


def _is_first(old: Bindings, new: Bindings) -> bool:
    """The first key of a grant may come with ties of its own: they narrow what was tied to nothing."""
    if not old.is_bearer:
        return False
    kept = replace(
        new,
        certificate=None,
        key=None,
        session=new.session if old.session is not None else None,
        process=new.process if old.process is not None else None,
    )
    return kept == old


def _refuse_key_below(index: Index, grant_id: str, binding: Bindings) -> None:
    """No key of a grant below: else a helper's key would become its principal's."""
    keys = {key for key in (binding.certificate, binding.key) if key is not None}
    for each in index.below(grant_id):
        if keys.intersection((each.binding.certificate, each.binding.key)):
            raise Refused("child_key_known")
