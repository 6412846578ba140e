//! A plan for people.

use workers::argv;
use workers::catalogue::When;
use workers::plan::{Check, Placeholder, Plan, Simulation};

use crate::cli::client::print;

/// All of a plan, section by section; a section without anything is left out.
pub(super) fn of(plan: &Plan) -> String {
    let mut out = vec![head(plan), steps(plan)];
    out.extend(section("must be there before", needed(plan)));
    out.extend(section("not given yet, so it can be read but not executed", plan.placeholders.iter().map(placeholder)));
    out.extend(section("waves", plan.waves.iter().map(|wave| format!("{}: {}", wave.name, wave.steps.join(", ")))));
    out.extend(section("rollback", plan.rollback_commands()));
    out.extend(section("left by a rollback", plan.left.iter().map(|(step, why)| format!("{step}: {why}"))));
    out.extend(section("impact", plan.impact.clone()));
    out.extend(section("security", plan.security.clone()));
    out.extend(section("window", plan.window_notes.clone()));
    out.extend(section("cost, as far as the catalogue knows", cost(plan)));
    out.extend(section("quota", quota(plan)));
    if let Some(told) = &plan.simulation {
        out.extend(section("simulation over what is there", simulation(told)));
    }
    out.join("\n\n")
}

/// What has to be said before a plan can be executed.
pub(super) fn placeholder(placeholder: &Placeholder) -> String {
    let Placeholder { resource, field, shown } = placeholder;
    format!("{resource}: {field}, shown as {shown:?}; say it in the request, or give a default in a catalogue file")
}

fn head(plan: &Plan) -> String {
    let mut rows = vec![vec!["plan".to_owned(), plan.digest()]];
    let given = [
        ("asked", plan.words.clone()),
        ("environment", plan.environment.clone()),
        ("endpoint", plan.endpoint.clone()),
        ("cloud", plan.cloud.clone()),
        ("variant", plan.variant.map(|variant| variant.as_str().to_owned())),
        (
            "tools",
            Some(
                plan.tools
                    .iter()
                    .map(|tool| format!("{} ({})", tool.program, tool.version))
                    .collect::<Vec<_>>()
                    .join(", "),
            ),
        ),
        ("approvals", Some(plan.approvals.join(", ")).filter(|text| !text.is_empty())),
    ];
    rows.extend(given.into_iter().filter_map(|(name, value)| Some(vec![name.to_owned(), value?])));
    print::columns(&rows)
}

fn steps(plan: &Plan) -> String {
    let mut lines = Vec::new();
    for (step, place) in plan.steps.iter().zip(1..) {
        let after: Vec<&str> = step.depends_on.iter().map(|(id, _)| id.as_str()).collect();
        let after = if after.is_empty() { String::new() } else { format!("  (after {})", after.join(", ")) };
        lines.push(format!("{place:>3}  {} {}{after}", step.action, step.id));
        lines.push(format!("     {}", argv::render(&step.argv)));
        lines.push(format!("     {}", check(&step.check)));
    }
    print::clean_lines(&lines.join("\n"))
}

fn check(check: &Check) -> String {
    let command = argv::render(&check.argv);
    let when = match &check.when {
        When::Success => String::new(),
        When::Prints(text) => format!(" prints {text:?}"),
        When::PrintsOtherThan(text) => format!(" prints other than {text:?}"),
    };
    format!("{}: {command}{when}", check.then)
}

fn section(title: &str, lines: impl IntoIterator<Item = String>) -> Option<String> {
    let lines: Vec<String> = lines.into_iter().map(|line| format!("  {}", print::clean(&line))).collect();
    (!lines.is_empty()).then(|| format!("{title}\n{}", lines.join("\n")))
}

fn needed(plan: &Plan) -> Vec<String> {
    let line = |needed: &workers::plan::Prerequisite| {
        let name = if needed.name.is_empty() { String::new() } else { format!("/{}", needed.name) };
        let check =
            needed.check.as_deref().map(|argv| format!("; seen by: {}", argv::render(argv))).unwrap_or_default();
        format!("{}{name}, for {}{check}; else {}", needed.kind, needed.by.join(", "), needed.how)
    };
    plan.needed.iter().map(line).collect()
}

fn cost(plan: &Plan) -> Vec<String> {
    let usd = |cents: u64| format!("{}.{:02} USD a month", cents / 100, cents % 100);
    let mut lines: Vec<String> =
        plan.cost.items.iter().map(|(id, cents, note)| format!("{id}: {} ({note})", usd(*cents))).collect();
    if lines.len() > 1 {
        lines.push(format!("together {}", usd(plan.cost.monthly_cents)));
    }
    lines
}

fn quota(plan: &Plan) -> Vec<String> {
    let line = |quota: &workers::plan::Quota| {
        let read = quota.read.as_deref().map(|argv| format!("; read by: {}", argv::render(argv))).unwrap_or_default();
        format!("{} of {}{read}", quota.units, quota.name)
    };
    plan.quotas.iter().map(line).collect()
}

fn simulation(told: &Simulation) -> Vec<String> {
    let mut lines: Vec<String> = told.runs.iter().map(|id| format!("runs     {id}")).collect();
    lines.extend(told.skipped.iter().map(|(id, why)| format!("skipped  {id}: {why}")));
    lines.extend(
        told.differs
            .iter()
            .map(|(id, field, there, wanted)| format!("differs  {id}: {field} is {there}, wanted is {wanted}")),
    );
    lines.extend(told.missing.iter().map(|(id, how)| format!("missing  {id}: {how}")));
    lines.extend(told.unknown.iter().map(|(id, why)| format!("unknown  {id}: {why}")));
    for (who, what) in &told.affected {
        let what: Vec<&str> = what.iter().map(String::as_str).collect();
        lines.push(format!("affects  {who}: {}", what.join(", ")));
    }
    lines.push(format!("afterwards {} resources are there", told.after.len()));
    lines
}
