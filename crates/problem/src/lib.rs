//! Problems: what can go wrong, each kind with a code. A code is a value everywhere; as text it only leaves the program.

mod code;
mod problem;
mod status;

pub use code::Code;
pub use problem::{About, Problem};
pub use status::{Exit, Status};
