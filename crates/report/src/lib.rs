//! Keeps what a call was like, second by second and for everybody, and makes one page of it: nothing to load, nothing to run.
//!
//! A [`Call`] is told what `puncher` says of peers, what peers say of our voice, and how a talk is; it needs bounded memory however long
//! the call lasts. [`Call::page`] gives the page at any time.
//!
//! ```
//! # #![allow(clippy::disallowed_methods)]
//! use std::time::{Duration, Instant};
//! use report::{Call, Stages};
//!
//! let start = Instant::now();
//! let mut call = Call::new("lobby", "ann", Stages::default(), 1_700_000_000, start);
//! call.handle_status(&wire::local::Status::default(), start + Duration::from_secs(1));
//! assert!(call.page().contains("nobody else was there"));
//! ```

mod call;
mod page;
mod person;
mod plots;
mod point;
mod svg;
mod words;

pub use call::{Call, Stages};
pub use page::escaped;
