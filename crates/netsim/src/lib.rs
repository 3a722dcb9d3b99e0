//! Hosts, NATs and links on a virtual clock, for tests.
//!
//! A [`Net`] is a tree: the [internet](Segment::INTERNET), routers attached to it, and behind each router a segment
//! with hosts and further routers. A datagram is an address pair and bytes; it takes its time on each [`Link`], and each
//! router on its way keeps state for it as its [`Nat`] says, in the words of RFC 4787. [`Kind`] names the routers that
//! people have at home, and [`direct_path_possible`] is the oracle for which pairs of them can reach each other, and how.
//!
//! Life cycle: build the tree (`add_router`, `add_host`, `set_link`), then `send`, move a clock to `next_event`, `advance`
//! to it and take the deliveries. Or implement [`Stack`] and let a [`Lab`] do that for a program on each host. The
//! same seed gives the same run; there is no thread, no socket and no real time in it.
//!
//! What it does not do: ICMP, fragments, TCP, more than one address of a family on a host, routing other than the tree.
//!
//! ```
//! use netsim::{Kind, Net, Segment, epoch};
//!
//! let mut net = Net::new(1);
//! let home = net.add_router(Segment::INTERNET, &["203.0.113.7".parse()?], Kind::Port.nat());
//! let alice = net.add_host(home.inside(), &["192.168.1.2".parse()?]);
//! let server = net.add_host(Segment::INTERNET, &["198.51.100.1".parse()?]);
//!
//! net.send(alice, 5000, "198.51.100.1:3478".parse()?, b"hello".to_vec(), epoch());
//! while let Some(at) = net.next_event() {
//!     net.advance(at);
//! }
//!
//! let delivery = net.poll_delivery().expect("nothing is lost here");
//! assert_eq!((delivery.host, delivery.from), (server, "203.0.113.7:5000".parse()?));
//! # Ok::<(), std::net::AddrParseError>(())
//! ```

mod attachment;
mod kind;
mod lab;
mod link;
mod nat;
mod net;
mod oracle;
mod rng;
mod table;

pub use kind::Kind;
pub use lab::{Lab, Outgoing, Stack};
pub use link::Link;
pub use nat::{Filtering, Hairpin, Lifetime, Mapping, Nat, Ports, Udp};
pub use net::{CORE_HOPS, Delivery, DropReason, HostId, Net, RouterId, Segment, TTL};
pub use oracle::{Means, direct_path_possible};
pub use rng::Rng;

use std::{sync::OnceLock, time::Instant};

/// Where the virtual clock starts: an arbitrary moment, the same for the whole process.
pub fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "an instant can only be made from another one")]
    *EPOCH.get_or_init(Instant::now)
}
