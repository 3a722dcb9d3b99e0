//! Sockets, and what the system tells of the network.

pub(crate) mod gateway;
pub(crate) mod router;
pub(crate) mod socket;
pub(crate) mod sockets;
pub(crate) mod tunnel;
pub(crate) mod watch;
