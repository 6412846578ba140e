# `terraform show -json PLANFILE` (or `tofu show -json`), plan format 0.x and 1.x -> one event of phase plan.
# https://developer.hashicorp.com/terraform/internals/json-format
#
# target.resources        one row a resource change, the change (the diff) verbatim; a replacement is two rows, in Terraform's order
# plan.commands           what will run: the flags' commands, else `terraform apply`; none where Terraform says it can't be applied
# plan.dependency_graph   {nodes, edges: [{from, to}]}: `from` needs `to`, by configuration address (no instance keys).
#                         References through `local.` values are not in Terraform's JSON, so their edges are absent.
# preflight.checks        check blocks, pre- and postconditions that passed or failed, and an errored plan
# terraform_plan          the rest of the document

def verify_kind:
  "the output of `terraform show -json PLANFILE`: an object with format_version and resource_changes" as $expected
  | if type != "object" or (.format_version | type) != "string" then unexpected(""; summary; $expected)
    elif (.format_version | test("^[01]\\.") | not) then
      unexpected("/format_version"; .format_version; "a plan format 0.x or 1.x")
    elif has("planned_values") or has("resource_changes") then .
    elif has("values") then unexpected(""; "a Terraform state (it has `values`)"; $expected)
    else unexpected(""; summary; $expected) end
  | if (.resource_changes // [] | type) != "array" then
      unexpected("/resource_changes"; (.resource_changes | summary); "an array")
    elif all(.resource_changes // [] | .[]; type == "object" and (.change | type) == "object" and (.change.actions | type) == "array")
    then . else unexpected("/resource_changes"; "a row without change.actions"; "rows of {address, type, name, change: {actions, …}}") end;

# "registry.terraform.io/hashicorp/azurerm" -> "azure"
def cloud_of:
  (strings_or("") | split("/") | last // "") as $p
  | {aws: "aws", awscc: "aws", azurerm: "azure", azuread: "azure", azapi: "azure", google: "gcp", "google-beta": "gcp",
     kubernetes: "kubernetes", helm: "kubernetes"}[$p] // $p | select(. != "" and . != "terraform" and . != "null" and . != "random");

def clouds: [.resource_changes // [] | .[].provider_name | cloud_of] | unique | if . == [] then null else join(",") end;

def rows:
  . as $rc
  | {create: "create", update: "update", delete: "delete", read: "read"} as $known
  | (.change.actions | map(strings)) as $actions
  | if ($actions | length) == 2 then
      $rc + {action: $known[$actions[0]], replace: true},
      ({type: $rc.type, name: $rc.name, address: $rc.address} | compact) + {action: $known[$actions[1]], replace: true}
    else $rc + ({action: $known[$actions[0] // ""]} | compact) end;

# --- dependency graph -------------------------------------------------------------------------------------------------

def under($prefix): if $prefix == "" then . else "\($prefix).\(.)" end;

# Every module of the configuration: {prefix, parent, call, module}.
def modules($prefix; $parent; $call):
  {prefix: $prefix, parent: $parent, call: $call, module: .},
  (.module_calls // {} | to_entries[] | .key as $name | .value as $c
    | ($c.module // {}) | modules("module.\($name)" | under($prefix); $prefix; $c));

def references: [.. | objects | .references? | arrays | .[] | strings];

# What a block refers to; "module.m" beside "module.m.output" only repeats it.
def wanted($at):
  (map(gsub("\\[[^\\]]*\\]"; "")) | unique) as $all
  | $all[] | . as $ref
  | select((startswith("module.") and (split(".") | length) == 2 and any($all[]; startswith($ref + "."))) | not)
  | {at: $at, ref: .};

# One reference -> {found: [addresses], todo: [further references]}
def follow($modules; $nodes):
  .at as $at | (.ref | split(".")) as $p
  | if $p[0] == "module" then
      ("module.\($p[1])" | under($at)) as $child
      | if ($p | length) > 2 then
          {todo: [$modules[$child].module.outputs[$p[2]]? // {} | references + (.depends_on // []) | wanted($child)]}
        else {found: [$nodes | keys[] | select(startswith($child + "."))]} end
    elif $p[0] == "var" then
      $modules[$at] as $m
      | if $m.call == null then {} else {todo: [$m.call.expressions[$p[1]]? // {} | references | wanted($m.parent)]} end
    else
      ((if $p[0] == "data" then $p[:3] else $p[:2] end) | join(".") | under($at)) as $address
      | if $nodes[$address] then {found: [$address]} else {} end
    end;

def reach($modules; $nodes):
  {todo: ., seen: {}, found: []}
  | until(.todo == [];
      .todo[0] as $next | "\($next.at) \($next.ref)" as $key
      | if .seen[$key] then .todo |= .[1:]
        else ($next | follow($modules; $nodes)) as $step
          | {todo: (.todo[1:] + ($step.todo // [])), seen: (.seen + {($key): true}), found: (.found + ($step.found // []))} end)
  | .found | unique;

# The calls around a module: what they depend on, all resources inside depend on.
def around($modules; $prefix):
  $modules[$prefix] as $m
  | if $m.call == null then []
    else [$m.call | [.count_expression, .for_each_expression | references[]] + (.depends_on // []) | wanted($m.parent)]
      + around($modules; $m.parent) end;

def dependency_graph:
  [.configuration.root_module | objects | modules(""; null; null)] as $list
  | ($list | map({(.prefix): .}) | add // {}) as $modules
  | [$list[] | .prefix as $prefix | .module.resources // [] | .[]
      | select(.address | type == "string")
      | {at: $prefix, address: (.address | under($prefix)), refs: (references + (.depends_on // []))}] as $resources
  | ($resources | map({(.address): true}) | add // {}) as $nodes
  | if $resources == [] then null else
      {
        nodes: ($nodes | keys),
        edges: ([$resources[] | .address as $from | .at as $at
          | ([.refs | wanted($at)] + around($modules; $at)) | reach($modules; $nodes)[]
          | select(. != $from) | {from: $from, to: .}] | unique)
      } end;

# --- checks -----------------------------------------------------------------------------------------------------------

def checks:
  [(.checks // [] | .[] | objects | {type: "terraform_check", target: .address.to_display, ok: {pass: true, fail: false, error: false}[.status // ""], status: .status} | compact),
   (if .errored == true then {type: "terraform_plan", ok: false, message: "Terraform reports an error while planning"} else empty end)]
  | if . == [] then null else {checks: .} end;

def request:
  [.resource_changes // [] | .[].change.actions[]] as $a
  | "Terraform plan: " + ([("create", "update", "delete", "read") as $verb | ([$a[] | select(. == $verb)] | length) as $n | select($n > 0) | "\($n) to \($verb)"]
      | if . == [] then "no changes" else join(", ") end);

verify_kind
| . as $document
| event(0; "plan"; {timestamp: .timestamp, request: request}; {
    target: ({cloud: ($cloud // clouds), cluster_endpoint_id: $endpoint, resources: [.resource_changes // [] | .[] | rows]} | compact),
    plan: ({
      commands: (if ($commands | length) > 0 then $commands elif .applyable == false or .errored == true then [] else ["terraform apply"] end),
      dependency_graph: dependency_graph
    } | compact),
    preflight: checks,
    terraform_plan: ($document | without(["resource_changes"] + if $timestamp == null then ["timestamp"] else [] end))
  })
