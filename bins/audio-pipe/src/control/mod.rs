//! Everything about a running talk, from outside: one-shot commands ask over the agent socket, and the talk's desk answers.

mod args;
mod desk;
mod oneshot;
mod show;
mod switches;
mod volumes;

pub(crate) use args::{Control, record};
pub(crate) use desk::Desk;
pub(crate) use oneshot::run;
pub(crate) use switches::{Switch, Switches};
pub(crate) use volumes::Volumes;
