//! Whole calls in virtual time.

mod call;
mod hostile;
mod mixing;
mod outages;
mod playing;
mod sides;
mod stereo;
mod traces;
