//! Producer tokens that are the ledger's own: workers and doors. What workers act on is on record under these names, so nobody else may publish under them.

/// Who puts requests on record: the door for requests.
pub const REQUEST: &str = "request";
/// Who puts signed approvals on record: the door for approvals.
pub const APPROVALS: &str = "approvals";
/// Who puts orders on record that come over HTTP: the door for orders.
pub const ORDERS: &str = "orders";
/// Who takes back what was done.
pub const ROLLBACK: &str = "rollback";
/// Who says what drifted, and asks for its repair.
pub const DRIFT: &str = "drift";

/// All of them.
pub const PRODUCERS: [&str; 9] =
    ["plan", "preflight", "execute", "verify", ROLLBACK, DRIFT, REQUEST, APPROVALS, ORDERS];

/// Whether requests by this producer are believed: what is asked for comes in by the door, or from the drift worker.
pub fn may_ask(producer: &str) -> bool {
    producer == REQUEST || producer == DRIFT
}
