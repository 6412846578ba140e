# Kubernetes audit events (audit.k8s.io, any version): one Event, or an EventList -> one event each, of phase execute.
# https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/
#
# target.resources    the object; action from the verb
# execution.steps     the request: response code -> rc (0 below 400, else 1; absent before the response)
# A request with dryRun=All changed nothing: phase preflight, with the answer as a check.
# k8s_audit           the whole audit event: it also carries what was mapped, under Kubernetes' own names

def is_audit: type == "object" and .kind == "Event" and (.auditID | type) == "string" and (.verb | type) == "string";

def audit_events:
  "a Kubernetes audit Event {kind: Event, auditID, verb, user, objectRef, …} or an EventList of them" as $expected
  | if is_audit then .
    elif type == "object" and .kind == "EventList" and (.items | type) == "array" then
      .items | to_entries[] | .key as $i | .value
      | if (. + {kind: "Event"} | is_audit) then . else unexpected("/items/\($i)"; summary; $expected) end
    elif type == "object" and .kind == "Event" and has("involvedObject") then
      unexpected(""; "an Event of the core API (it has involvedObject), not an audit event"; $expected)
    else unexpected(""; summary; $expected) end;

def action:
  {create: "create", update: "update", patch: "update", delete: "delete", deletecollection: "delete",
   get: "read", list: "read", watch: "read"}[.verb];

def resource:
  action as $action
  | (.requestObject.kind? | strings_or(null)) as $kind
  | .objectRef // {}
  | {
      type: ("k8s_" + (if .subresource == null then $kind else null end // .resource // "request") | ascii_downcase),
      name: .name,
      namespace: .namespace,
      api_group: .apiGroup,
      api_version: .apiVersion,
      subresource: .subresource,
      action: $action
    } | compact;

def title: 
  [.verb,
   ([.objectRef.resource, .objectRef.subresource] | map(strings) | join("/")),
   ([.objectRef.namespace, .objectRef.name] | map(strings) | join("/"))]
  | map(select(. != "")) | join(" ");

def failure: .responseStatus | if .status == "Failure" or (.code // 0) >= 400 then .message // .reason else null end;

def dry_run: .requestURI | strings_or("") | test("[?&]dryRun=All(&|$)");

def step($code):
  {
    cmd: "\(.verb) \(.requestURI // "")",
    rc: (if $code == null then null elif $code < 400 then 0 else 1 end),
    response_code: $code,
    started_at: .requestReceivedTimestamp,
    finished_at: (if $code == null then null else .stageTimestamp end),
    stderr: failure
  } | compact;

[audit_events] | to_entries[] | .key as $number | .value
| . as $audit
| (.responseStatus.code | if type == "number" then . else null end) as $code
| {
    timestamp: (.stageTimestamp // .requestReceivedTimestamp // .timestamp),
    request: title,
    initiator: .user.username
  } as $from
| {target: ({cloud: ($cloud // "kubernetes"), cluster_endpoint_id: $endpoint, resources: [resource]} | compact)} as $target
| if dry_run then
    event($number; "preflight"; $from; $target + {
      preflight: {checks: [{type: "k8s_dry_run", target: title, ok: (if $code == null then null else $code < 400 end), message: failure} | compact]},
      k8s_audit: $audit
    })
  else
    event($number; "execute"; $from; $target + {
      execution: {executor: "kube-apiserver", steps: [step($code)]},
      k8s_audit: $audit
    })
  end
