//! The relay in virtual time, seen from outside.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod forwarding;
mod quotas;
mod support;
