//! Other programs on this host: those that share the member through its agent socket, and the one that puncher runs.

pub(crate) mod agents;
pub(crate) mod child;
pub(crate) mod client;
pub(crate) mod held;
pub(crate) mod pipe;
