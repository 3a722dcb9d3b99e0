//! What a voice is like before and after.

mod activity;
mod echo;
mod gain;
mod hostile;
mod noise;
mod scene;
mod switching;
mod voice;
