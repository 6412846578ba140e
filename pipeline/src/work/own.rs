//! Producer tokens that are the ledger's own. What workers act on is on record under these names, so nobody else may publish under them: the child server
//! refuses it to whoever has no credentials (`crate::server`), and on a NATS of somebody else its permissions have to (`docs/workers.md`).

use super::Stored;

/// Who puts requests on record: the door for requests.
pub const REQUEST: &str = "request";
/// Who puts signed approvals on record: the door for approvals.
pub const APPROVALS: &str = "approvals";
/// Who takes back what was done.
pub const ROLLBACK: &str = "rollback";
/// Who says what drifted, and asks for its repair.
pub const DRIFT: &str = "drift";

/// All of them: workers and doors.
pub const PRODUCERS: [&str; 8] = ["plan", "preflight", "execute", "verify", ROLLBACK, DRIFT, REQUEST, APPROVALS];

/// Whether an entry may be a request: what is asked for comes in by the door, or from the drift worker.
pub fn may_ask(stored: &Stored) -> bool {
    stored.is_by(REQUEST) || stored.is_by(DRIFT)
}
