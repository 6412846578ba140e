//! What the client commands share: input files, flags of an event, the way to the server, and signing with
//! one's own SSH key, and printing what others wrote.

pub mod act;
pub mod answered;
pub mod flags;
pub mod http;
pub mod input;
pub mod login;
pub mod lookup;
pub mod print;
pub mod send;
pub mod ssh;
pub mod tiles;
