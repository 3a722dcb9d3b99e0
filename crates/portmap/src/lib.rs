//! Asks the router for a port mapping, keeps it, and gives it back. No sockets, no clock: feed it, then drain it.
//!
//! A mapping turns any NAT into one that lets peers in: the router forwards to this host whatever comes to a port of its
//! own. Three protocols ask for one, and a [`Mapper`] asks by all three at once: PCP (RFC 6887) and NAT-PMP (RFC 6886) by
//! one datagram to the gateway, UPnP by a search, a description and a few calls over HTTP. The first success counts; the
//! others stop.
//!
//! ```text
//!  set_network        first grant              half the lease: renewed
//! ------------> asks -------------> Mapped <-----------------------------.
//!               | 4 s nothing         |  | the router started anew, or    |
//!               v                     |  | has another address: asks again'
//!          Unavailable                v
//!               | 15 min: asks     Lost (not renewed, or another network): asks from the start
//! ```
//!
//! A mapping is asked for an hour, so that what a killed program leaves behind is soon gone, and [`Mapper::close`]
//! deletes it. It needs no more than one datagram, but one exchange over HTTP for UPnP.
//!
//! The router is believed in little. Only what comes from the gateway's address is looked at, and PCP's nonce must be
//! right. An external address that peers can't reach (private, carrier-grade NAT, loopback ..) is not offered. Documents
//! are bounded in bytes, nodes and time; entities are refused; a description or control address on another host is not
//! asked; redirects are not followed; no text of the router is part of a request, but for the paths that it names.
//!
//! What it does not do: find the gateway, ask for IPv6 pinholes, listen for UPnP's own notices.
//!
//! ```
//! use portmap::{Event, Mapper, Network, Protocol};
//!
//! let now = netsim::epoch();
//! let network = Network { gateway: "192.168.1.1".parse()?, internal: "192.168.1.7:40112".parse()? };
//! let mut mapper = Mapper::new([7; 16]);
//! mapper.set_network(Some(network), now);
//! mapper.handle_timeout(now);
//!
//! // What goes out is PCP, NAT-PMP and SSDP; this router speaks NAT-PMP.
//! let gateway = "192.168.1.1:5351".parse()?;
//! assert_eq!(std::iter::from_fn(|| mapper.poll_transmit()).count(), 3);
//! mapper.handle_datagram(gateway, &[0, 128, 0, 0, 0, 0, 0, 9, 203, 0, 113, 7], now);
//! assert_eq!(mapper.poll_transmit().unwrap().to, "192.168.1.1:5351".parse()?);
//! mapper.handle_datagram(gateway, &[0, 129, 0, 0, 0, 0, 0, 9, 0x9c, 0xb0, 0x9c, 0xb0, 0, 0, 14, 16], now);
//!
//! let Some(Event::Mapped { addr, protocol, .. }) = mapper.poll_event() else { panic!() };
//! assert_eq!((addr, protocol), ("203.0.113.7:40112".parse()?, Protocol::NatPmp));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod address;
mod asker;
mod calls;
mod epoch;
mod event;
mod http;
mod lease;
mod mapper;
mod natpmp;
mod pcp;
mod reader;
mod soap;
mod ssdp;
mod upnp;

pub use event::{Event, Network, Protocol, Transmit};
pub use http::Request;
pub use mapper::{ANNOUNCE_PORT, Mapper};
