//! A mapper and the router that it asks, in virtual time.

mod home;
mod lies;
mod life;
mod router;
