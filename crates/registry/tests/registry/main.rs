//! The registry's behaviour in virtual time, one sentence a test.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod channels;
mod early;
mod seatings;
mod sessions;
mod support;
