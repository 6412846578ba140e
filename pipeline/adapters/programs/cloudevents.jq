
# A CloudEvent (cloudevents.io, 1.0) in structured form, or a batch of them -> the event that it carries.
# https://github.com/cloudevents/spec/blob/main/cloudevents/formats/json-format.md
#
# data is {"provisioning_event": …}    that event, as it is; flags win, as everywhere
# type begins with dev.cdevents.       the CDEvent in data, as the adapter cdevents maps it
# anything else                        one event of the phase that the type ends with (…plan, …preflight, …execute, …verify, …audit; else
#                                      audit); data that holds sections of an event (plan, preflight, execution, …) gives them
# cloudevent                           the whole document: it also carries what was mapped, under CloudEvents' own names

def ce_is: type == "object" and (.specversion | type) == "string" and (.id | type) == "string" and (.source | type) == "string"
  and (.type | type) == "string";

def ce_all:
  "a CloudEvent {specversion, id, source, type, …} in structured form, or an array of them" as $expected
  | if ce_is then .
    elif type == "array" and length > 0 then
      to_entries[] | .key as $i | .value | if ce_is then . else unexpected("/\($i)"; summary; $expected) end
    else unexpected(""; summary; $expected) end;

def ce_word: [.type | ascii_downcase | split(".")[] | select(. as $w | any("plan", "preflight", "execute", "verify", "audit"; . == $w))] | last // "audit";

def ce_sections:
  .data as $data
  | if ($data | type) != "object" then {}
    else {environment: ($environment // ($data.environment | strings_or(null))), change_id: ($change // ($data.change_id | strings_or(null)))}
      + ([ "target", "plan", "preflight", "execution", "verification", "rollback" ]
         | map(. as $name | {key: $name, value: $data[$name]} | select((.value | type) == "object")) | from_entries)
    end;

def ce_own:
  . as $document
  | .data.provisioning_event as $event
  | {provisioning_event: ($event
      + ({change_id: $change, environment: $environment, change_class: $class, attempt: $attempt, timestamp: $timestamp} | compact)
      + {intent: (($event.intent // {})
          + ({request: $request, source: $source, initiator: $initiator, reason: $reason, ticket: $ticket} | compact)
          + {tenant: ($event.intent.tenant // $tenant)})}
      + {cloudevent: ($document | without(["data"]))})};

[ce_all] | to_entries[] | .key as $number | .value
| if (.data | type) == "object" and (.data.provisioning_event | type) == "object" then ce_own
  elif (.type | startswith("dev.cdevents.")) and (.data | type) == "object" then
    without(["data"]) as $around | .data | cdevent($number) | .provisioning_event += {cloudevent: $around}
  else
    . as $document
    | event($number; ce_word;
        {
          timestamp: .time,
          request: "\(.type): \(.subject | strings_or($document.id))",
          initiator: (.data | if type == "object" then (.initiator // .actor | strings_or(null)) else null end // $document.source)
        };
        ce_sections + {cloudevent: $document})
  end
