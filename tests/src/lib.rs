//! Whole calls of the real programs, and what is needed to judge them.

pub mod report;
pub mod speech;
