//! Whole calls of the real programs, and what is needed to judge them.

#[cfg(target_os = "linux")]
pub mod bench;
#[cfg(target_os = "linux")]
pub mod call;
#[cfg(target_os = "linux")]
pub mod lab;
pub mod report;
pub mod speech;
