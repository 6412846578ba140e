# A CDEvent (cdevents.dev, any version) -> one event; its type says of which phase.
# https://github.com/cdevents/spec
#
# approval.*                                   preflight: an approval, as decided by the responder
# change.*, ticket.*                           plan
# service.*, environment.*, pipelinerun.*,     execute: one step; outcome -> rc (success or none given at the end 0, failure or error 1,
#   taskrun.*, build.*, artifact.*             absent while it runs); service.rolledback is an executed rollback
# testcaserun.*, testsuiterun.*, incident.*    verify: one check (an incident that is detected is a check that does not hold)
# anything else                                audit: kept, and it changes no state
# Change: a flag, else the chain that the event belongs to (context.chainId).
# cdevent                                      the whole document: it also carries what was mapped, under CDEvents' own names

def cd_words: .context.type | ltrimstr("dev.cdevents.") | split(".");

def cd_verify:
  "a CDEvent: an object with context {id, source, type: dev.cdevents.SUBJECT.PREDICATE.VERSION, timestamp} and subject {id, content}" as $expected
  | if type != "object" or (.context | type) != "object" or (.subject | type) != "object" then unexpected(""; summary; $expected)
    elif (.context.type | type) != "string" or (.context.type | startswith("dev.cdevents.") | not) then
      unexpected("/context/type"; (.context.type | summary); $expected)
    elif (cd_words | length) < 2 then unexpected("/context/type"; (.context.type | summary); $expected)
    else . end;

def cd_outcome: .subject.content.outcome // .subject.content.status | strings_or(null);

def cd_rc($over):
  cd_outcome as $outcome
  | if $outcome == null then (if $over then 0 else null end)
    elif any("success", "pass", "passed", "succeeded", "completed"; . == $outcome) then 0
    else 1 end;

def cd_over($predicate):
  any("finished", "deployed", "upgraded", "rolledback", "removed", "published", "created", "modified", "deleted", "packaged", "signed"; . == $predicate);

def cd_phase($subject):
  {approval: "preflight", change: "plan", ticket: "plan", service: "execute", environment: "execute", pipelinerun: "execute",
   taskrun: "execute", build: "execute", artifact: "execute", testcaserun: "verify", testsuiterun: "verify", incident: "verify"}[$subject]
  // "audit";

def cd_resource($subject; $predicate):
  {
    type: ("cdevents_" + $subject),
    name: .subject.id,
    action: {created: "create", deployed: "create", published: "create", deleted: "delete", removed: "delete", modified: "update",
             upgraded: "update", rolledback: "update"}[$predicate]
  } | compact;

def cd_approval($predicate):
  .subject.content as $said
  | if $predicate == "closed" or $said.decision != null then
      {preflight: {approvals: [{
        approver: ($said.responder | strings_or(null)),
        decision: ($said.decision // $said.status | strings_or(null)),
        at: .context.timestamp
      } | compact]}}
    else {} end;

def cd_check($subject; $predicate):
  {verification: {checks: [{
    type: ("cdevents_" + $subject),
    target: .subject.id,
    ok: (if $subject == "incident" then {detected: false, reported: false, resolved: true}[$predicate]
         else cd_rc(false) | if . == null then null else . == 0 end end)
  } | compact]}};

def cd_step($subject; $predicate):
  cd_rc(cd_over($predicate)) as $rc
  | {cmd: "\($subject) \($predicate): \(.subject.id)", rc: $rc, outcome: cd_outcome, stdout_ref: (.subject.content | .uri? // .url? | strings_or(null))}
  | compact
  | if $subject == "service" and $predicate == "rolledback" then
      {rollback: {executed: ({steps: [.], outcome: (if $rc == 0 then "done" else "failed" end)} | compact)}}
    else {execution: {executor: "cdevents", steps: [.]}} end;

def cd_sections($subject; $predicate; $phase):
  if $subject == "approval" then cd_approval($predicate)
  elif $phase == "execute" then cd_step($subject; $predicate)
  elif $phase == "verify" then cd_check($subject; $predicate)
  elif $phase == "plan" and ($commands | length) > 0 then {plan: {commands: $commands}}
  else {} end;

def cdevent($number):
  cd_verify
  | . as $document
  | cd_words as [$subject, $predicate]
  | cd_phase($subject) as $phase
  | event($number; $phase;
      {
        timestamp: .context.timestamp,
        request: "\($subject) \($predicate): \(.subject.id)",
        initiator: (.subject.content.responder? // .subject.content.triggeredBy?.id? // .context.source | strings_or(null))
      };
      {change_id: ($change // (.context.chainId | strings_or(null)))}
      + {target: ({cloud: $cloud, cluster_endpoint_id: $endpoint, resources: [cd_resource($subject; $predicate)]} | compact)}
      + cd_sections($subject; $predicate; $phase)
      + {cdevent: $document});
