//! The model's minimal acceptance examples (UPM v2, "Minimal Acceptance Examples"), each through the real program from end to end, with the evidence
//! pack as its outcome. A module of the one suite binary.

mod executed_rollback;
mod meta_blocking;
mod missing_prerequisite;
mod pipe_allow_list;
mod rollback_dry_run;
mod secret_redaction;
mod tls_fallback;
