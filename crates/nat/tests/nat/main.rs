//! Routers of every kind, told apart in virtual time.
#![allow(clippy::unwrap_used, reason = "all of it is test code")]

mod classes;
mod hostile;
mod world;
