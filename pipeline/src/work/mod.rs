//! Workers: programs that consume events of one phase and produce those of the next, through the same door as everybody else.

pub mod process;
