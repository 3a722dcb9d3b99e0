//! The real program on one machine: calls without a rendezvous, local programs, and what bad input gets.

mod calls;
mod locals;
mod pipes;
mod refusals;
mod support;
