# AWS CloudTrail: a log file {"Records": […]}, or one record -> one event a record.
# https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
#
# A call that changes something is of phase execute; one that only reads (readOnly) of phase verify, without a check: it changes no state.
# target.resources    what the record names (its ARNs, else a parameter that names something); action from the call's first word
# execution.steps     the call: errorCode -> rc 1, else 0
# cloudtrail          the whole record: it also carries what was mapped, under CloudTrail's own names

def ct_is: type == "object" and (.eventName | type) == "string" and (.eventSource | type) == "string" and (.eventTime | type) == "string";

def ct_records:
  "a CloudTrail log file {Records: […]}, or one record {eventVersion, eventTime, eventSource, eventName, …}" as $expected
  | if ct_is then .
    elif type == "object" and (.Records | type) == "array" and (.Records | length) > 0 then
      .Records | to_entries[] | .key as $i | .value
      | if ct_is then . else unexpected("/Records/\($i)"; summary; $expected) end
    else unexpected(""; summary; $expected) end;

def ct_service: .eventSource | split(".")[0];

def ct_action:
  if .readOnly == true then "read"
  elif .eventName | test("^(Create|Run|Allocate|Register|Import)") then "create"
  elif .eventName | test("^(Delete|Terminate|Release|Deregister|Remove)") then "delete"
  else "update" end;

def ct_named: [.requestParameters // {} | to_entries[] | select((.value | type) == "string" and (.key | test("(name|id|arn)$"; "i"))) | .value][0];

def ct_resources:
  ct_action as $action
  | ("aws_" + ct_service) as $type
  | [.resources // [] | .[] | {type: (.type // $type), name: .ARN, action: $action} | select(.name != null)]
  | if . == [] then null else . end;

def ct_target:
  (ct_resources // [{type: ("aws_" + ct_service), name: ct_named, action: ct_action} | compact]) as $resources
  | {target: {
      cloud: ($cloud // "aws"),
      cluster_endpoint_id: ($endpoint // ([.recipientAccountId, .awsRegion] | map(strings) | join("/") | strings_or(null))),
      resources: $resources
    } | compact};

def ct_step:
  {
    cmd: "\(ct_service) \(.eventName)",
    rc: (if .errorCode == null then 0 else 1 end),
    stderr: (if .errorCode == null then null else [.errorCode, .errorMessage] | map(strings) | join(": ") end)
  } | compact;

[ct_records] | to_entries[] | .key as $number | .value
| . as $record
| event($number; (if .readOnly == true then "verify" else "execute" end);
    {
      timestamp: .eventTime,
      request: ([ct_service, .eventName, ct_named] | map(strings) | join(" ")),
      initiator: (.userIdentity | .userName? // .arn? // .invokedBy? // .principalId? // .type?)
    };
    ct_target
    + (if .readOnly == true then {} else {execution: {executor: "aws", steps: [ct_step]}} end)
    + {cloudtrail: $record})
