//! The real program on free ports, tried from outside. Nothing here sleeps: tests read the ready line and then wait for
//! what they expect, with a deadline that only a fault reaches.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod datagrams;
mod early;
mod events;
mod http;
mod limits;
mod members;
mod page;
mod program;
mod relay;
mod support;
mod tunnel;
