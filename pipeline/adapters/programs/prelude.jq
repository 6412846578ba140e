# What every adapter may use. In scope for all programs, embedded or the user's own:
#
#   .            the document, secrets already masked
#   $id          the id derived from the masked document
#   $timestamp $change $attempt $environment $class $request $source $initiator $tenant $reason $ticket
#   $owner $visibility $cloud $endpoint      what flags gave, or null; $attempt is a number
#   $commands    an array of strings, empty if none was given
#
# Left out: clock, environment and further input. A program is a function of the document and the flags.

# The document is not what it claims to be.
def unexpected($path; $found; $expected): error({unexpected: {path: $path, found: $found, expected: $expected}});

# Neither the document nor a flag says it.
def missing($flag): error({missing: $flag});

# One line about a value, for `unexpected`.
def summary:
  if type == "object" then
    if length == 0 then "an object without members"
    else "an object with " + (keys_unsorted[:6] | join(", ")) + (if length > 6 then ", …" else "" end) end
  elif type == "array" then "an array of \(length)"
  elif type == "string" then "the string " + (.[:40] | tojson)
  else tojson end;

def compact: with_entries(select(.value != null));

# Without these members; unlike `del`, it keeps the order of the others.
def without($names): with_entries(.key as $k | select(any($names[]; . == $k) | not));

def strings_or($default): if type == "string" and . != "" then . else $default end;

# The event: flags first, then what the document says ($from), then $sections in the order given.
# A member without a value is absent. $number counts the events of one document from 0.
def event($number; $phase; $from; $sections):
  {provisioning_event: (
    {
      id: (if $number == 0 then $id else "\($id)-\($number + 1)" end),
      timestamp: ($timestamp // $from.timestamp // missing("timestamp")),
      phase: $phase,
      change_id: $change,
      environment: $environment,
      change_class: $class,
      attempt: $attempt,
      intent: ({
        request: ($request // $from.request),
        source: ($source // $from.source // "api"),
        initiator: ($initiator // $from.initiator // missing("initiator")),
        tenant: ($tenant // $from.tenant // missing("tenant")),
        reason: $reason,
        ticket: $ticket
      } | compact)
    }
    + $sections
    + {governance: ({visibility: $visibility, owner: $owner} | compact | if . == {} then null end)}
    | compact)};
