//! The real `chatctl` against a small `puncher` and a small rendezvous that do as a test tells them.

#![allow(clippy::unwrap_used, reason = "helpers of tests may")]

mod channels;
mod fake;
mod oneshot;
mod session;
mod tmux;
