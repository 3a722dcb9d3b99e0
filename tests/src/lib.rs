//! Whole calls of the real programs, and what is needed to judge them.

#[cfg(target_os = "linux")]
pub mod bench;
#[cfg(target_os = "linux")]
pub mod call;
#[cfg(target_os = "linux")]
pub mod lab;
pub mod report;
pub mod speech;

/// The hardest means by which the product gets direct paths: tests hold it to every pair that these are enough for.
pub const CAPABLE: netsim::Means = netsim::Means::Prediction;
