# GitHub's `deployment_review` webhook payload, of the actions approved and rejected -> one event of phase preflight.
# https://docs.github.com/webhooks/webhook-events-and-payloads#deployment_review
#
# preflight.approvals[0]    who reviewed, when, and the decision; role is the slug of the one team that is asked to review, or `deployment-reviewer`,
#                           because GitHub does not say as a member of which of several somebody reviews; plan_digest is the one `sha256:…` that the
#                           review's comment names, if it names exactly one. GitHub signs nothing of it, so neither is there a signature here
# change_id, attempt        without --change those that `upm` takes from the same run's variables: github-OWNER-REPO-RUN, and run_attempt
# github_deployment_review  the whole document
#
# The event speaks for whoever sends it on: it counts only from a producer that neither plans nor executes.

def is_run: type == "object" and (.id | type) == "number";

def verify_kind:
  "GitHub's deployment_review payload: an object with action (approved or rejected), approver {login, …}, workflow_run {id, …}, since" as $expected
  | if type != "object" then unexpected(""; summary; $expected)
    elif .action == "requested" then unexpected("/action"; "requested: nobody has decided yet"; "approved or rejected")
    elif (.action == "approved" or .action == "rejected") | not then unexpected("/action"; (.action | summary); $expected)
    elif (.approver | if type == "object" then .login else null end | type) != "string" then unexpected("/approver"; (.approver | summary); $expected)
    elif .workflow_run | is_run | not then unexpected("/workflow_run"; (.workflow_run | summary); $expected)
    else . end;

# The one plan that the comment names.
def named_plan:
  [strings | scan("\\bsha256:[0-9a-f]{64}\\b")] | unique | if length == 1 then .[0] else null end;

def role:
  [.[]? | select(.type == "Team") | .reviewer.slug | strings] as $teams
  | if length == 1 and ($teams | length) == 1 then $teams[0] else "deployment-reviewer" end;

# As `upm emit` and `upm run` name the change of a run.
def run_change($repository; $run):
  if $repository == null then "github-\($run)" else "github-" + ($repository | gsub("/"; "-")) + "-\($run)" end;

verify_kind
| . as $document
| .workflow_run as $run
| (.repository.full_name // $run.repository.full_name | strings_or(null)) as $repository
# The run was told of the decision when it was last updated; `since` is when it began to wait where GitHub says no later time.
| ([.since, $run.updated_at] | map(strings) | max) as $at
| event(0; "preflight";
    {
      timestamp: $at,
      request: ($run.display_title | strings_or(null)),
      initiator: ($run.triggering_actor.login // $run.actor.login // .approver.login)
    };
    {
      change_id: ($change // run_change($repository; $run.id)),
      attempt: ($attempt // (if $change == null then $run.run_attempt else null end)),
      preflight: {
        approvals: [{
          approver: .approver.login,
          role: (.reviewers // [] | role),
          decision: (if .action == "approved" then "approved" else "refused" end),
          at: $at,
          plan_digest: (.comment | named_plan)
        } | compact]
      },
      github_deployment_review: $document
    })
