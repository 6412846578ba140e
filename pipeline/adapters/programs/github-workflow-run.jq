# GitHub's `workflow_run` webhook payload, or the run itself as the REST API gives it (`gh api repos/O/R/actions/runs/ID`)
# -> one event of phase execute.
# https://docs.github.com/webhooks/webhook-events-and-payloads#workflow_run
#
# execution.steps[0]    the run: conclusion -> rc (0 success or neutral, 1 what ended otherwise; absent while it runs, and where it
#                       was skipped, since nothing ran); stdout_ref is where GitHub keeps the log
# github_workflow_run   the whole document: it also carries what was mapped, under GitHub's own names

def is_run: type == "object" and (.id | type) == "number" and (.head_sha | type) == "string" and has("workflow_id");

def verify_kind:
  "GitHub's workflow_run payload: an object with workflow_run {id, head_sha, workflow_id, status, conclusion, …}, or that object itself" as $expected
  | if type != "object" then unexpected(""; summary; $expected)
    elif has("workflow_run") then
      if .workflow_run | is_run then . else unexpected("/workflow_run"; (.workflow_run | summary); $expected) end
    elif is_run then .
    else unexpected(""; summary; $expected) end;

def rc:
  if . == null or . == "skipped" then null
  elif . == "success" or . == "neutral" then 0
  else 1 end;

verify_kind
| . as $document
| (.workflow_run // .) as $run
| ($document.workflow.name // $run.name | strings_or("workflow \($run.workflow_id)")) as $name
| event(0; "execute";
    {
      timestamp: (if $run.status == "completed" then $run.updated_at else $run.run_started_at // $run.updated_at end),
      request: ($run.display_title | strings_or(null)),
      initiator: ($run.triggering_actor.login // $run.actor.login // $document.sender.login)
    };
    {
      target: ({cloud: $cloud, cluster_endpoint_id: $endpoint} | compact | if . == {} then null end),
      plan: (if ($commands | length) > 0 then {commands: $commands} else null end),
      execution: {
        executor: "github-actions",
        steps: [{
          cmd: "\($name) (\($run.path // "workflow \($run.workflow_id)")) at \($run.head_sha)",
          rc: ($run.conclusion | rc),
          status: $run.status,
          conclusion: $run.conclusion,
          started_at: $run.run_started_at,
          finished_at: (if $run.status == "completed" then $run.updated_at else null end),
          run_attempt: $run.run_attempt,
          stdout_ref: $run.html_url
        } | compact]
      },
      github_workflow_run: $document
    })
