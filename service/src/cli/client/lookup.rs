//! Which tenant a change belongs to, where nobody said it.

use schemas::ids::{ChangeId, Tenant};

use super::http::{Client, segment};
use crate::cli::{CliError, Globals};

/// More tenants than this are not searched one by one.
const SEARCHED_TENANTS: usize = 100;

/// The tenant of the options; else the only one that has the change; else `default`.
pub fn tenant_of(client: &Client, globals: &Globals, change: &ChangeId) -> Result<Tenant, CliError> {
    if let Some(tenant) = globals.tenant() {
        return Ok(tenant.clone());
    }
    let answer = client.get("/v1/tenants")?;
    let rows = answer["tenants"].as_array().map_or(&[][..], Vec::as_slice);
    let tenants: Vec<Tenant> =
        rows.iter().filter_map(|row| row["tenant"].as_str().and_then(|name| Tenant::parse(name).ok())).collect();
    if tenants.len() > SEARCHED_TENANTS {
        return globals.tenant_or_default();
    }
    let mut found = Vec::new();
    for tenant in tenants {
        match client.get(&format!("/v1/tenants/{}/changes/{}", segment(tenant.as_str()), segment(change.as_str()))) {
            Ok(_) => found.push(tenant),
            Err(CliError::No { .. }) => {}
            Err(other) => return Err(other),
        }
    }
    match found.as_slice() {
        [] => Err(CliError::no(format!("no tenant here has a change {}", super::print::clean(change.as_str())))),
        [only] => Ok(only.clone()),
        several => {
            let names: Vec<&str> = several.iter().map(Tenant::as_str).collect();
            Err(CliError::could_not(format!(
                "the change {} is in several tenants",
                super::print::clean(change.as_str())
            ))
            .with_detail(format!("say which with --tenant: {}", names.join(", "))))
        }
    }
}
