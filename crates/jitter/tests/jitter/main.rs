//! Whole calls in virtual time.

mod call;
mod mixing;
mod outages;
mod playing;
mod traces;
