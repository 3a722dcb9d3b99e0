//! Datagrams through WebSockets, for members whose network lets no UDP out.
//!
//! Each binary message is one datagram, as it would have come to the UDP port or left it. To the UDP task a tunnel is a
//! source like any other: it has a made-up address, of a range that no packet comes from and that peers never hear of.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

/// What has waited longer is no use any more: sound comes too late, and QUIC has sent it again.
const STALE: Duration = Duration::from_millis(60);
/// Datagrams that may wait, however fast they come.
const MAX_WAITING: usize = 256;
/// Datagrams from all tunnels that wait for the UDP task; a tunnel that finds no room waits, each in its turn.
const ARRIVALS: usize = 256;

/// The made-up address of a tunnel: in the discard-only prefix 100::/64 (RFC 6666), which no packet comes from.
fn made_up(number: u64) -> SocketAddr {
    SocketAddr::new(Ipv6Addr::from((0x0100_u128 << 112) | u128::from(number)).into(), 1)
}

/// Whether an address is in the range of those made up here.
pub(crate) fn is_made_up(addr: SocketAddr) -> bool {
    matches!(addr.ip(), IpAddr::V6(ip) if ip.segments()[..4] == [0x0100, 0, 0, 0])
}

/// The two ends: where tunnels are opened, and the UDP task's.
pub(crate) fn channel() -> (Entrance, Tunnels) {
    let (sender, arrivals) = mpsc::channel(ARRIVALS);
    (Entrance { sender, opened: Arc::default() }, Tunnels { arrivals, open: HashMap::new() })
}

/// Where tunnels are opened.
#[derive(Clone)]
pub(crate) struct Entrance {
    sender: mpsc::Sender<Arrival>,
    opened: Arc<AtomicU64>,
}

/// What the UDP task hears of.
enum Arrival {
    Opened { at: SocketAddr, peer: SocketAddr, queue: Arc<Queue> },
    Datagram { at: SocketAddr, datagram: Bytes },
    Closed { at: SocketAddr },
}

/// The UDP task is gone: the program ends.
#[derive(Debug)]
pub(crate) struct Closed;

impl Entrance {
    /// Opens a tunnel for a TCP connection from `peer`; it is closed when both ends are dropped.
    pub(crate) async fn open(&self, peer: SocketAddr) -> Result<(Sender, Receiver), Closed> {
        let at = made_up(self.opened.fetch_add(1, Ordering::Relaxed));
        let queue = Arc::new(Queue::default());
        let opened = Arrival::Opened { at, peer, queue: Arc::clone(&queue) };
        self.sender.send(opened).await.map_err(|_| Closed)?;
        Ok((Sender { at, sender: self.sender.clone() }, Receiver(queue)))
    }
}

/// Takes datagrams from a tunnel to the UDP task.
pub(crate) struct Sender {
    at: SocketAddr,
    sender: mpsc::Sender<Arrival>,
}

impl Sender {
    /// Waits until there is room: meanwhile the tunnel is not read, and TCP slows its other end down.
    pub(crate) async fn send(&self, datagram: Bytes) -> Result<(), Closed> {
        self.sender.send(Arrival::Datagram { at: self.at, datagram }).await.map_err(|_| Closed)
    }

    /// Tells the UDP task of the tunnel's end.
    pub(crate) async fn close(self) {
        // Without a task there is nobody to tell.
        let _ = self.sender.send(Arrival::Closed { at: self.at }).await;
    }
}

/// Gives the datagrams for a tunnel.
pub(crate) struct Receiver(Arc<Queue>);

impl Receiver {
    /// The next that is not stale.
    pub(crate) async fn next(&self) -> Bytes {
        loop {
            if let Some(datagram) = self.0.pop(Instant::now()) {
                return datagram;
            }
            self.0.more.notified().await;
        }
    }
}

/// Datagrams that wait for one tunnel.
#[derive(Default)]
struct Queue {
    waiting: Mutex<VecDeque<(Instant, Bytes)>>,
    more: Notify,
}

impl Queue {
    /// The oldest make room.
    fn push(&self, datagram: Bytes, now: Instant) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        drop_stale(&mut waiting, now);
        if waiting.len() >= MAX_WAITING {
            waiting.pop_front();
        }
        waiting.push_back((now, datagram));
        drop(waiting);
        self.more.notify_one();
    }

    fn pop(&self, now: Instant) -> Option<Bytes> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        drop_stale(&mut waiting, now);
        waiting.pop_front().map(|(_, datagram)| datagram)
    }
}

fn drop_stale(waiting: &mut VecDeque<(Instant, Bytes)>, now: Instant) {
    while waiting.front().is_some_and(|(since, _)| now.saturating_duration_since(*since) > STALE) {
        waiting.pop_front();
    }
}

/// The UDP task's end of all tunnels.
pub(crate) struct Tunnels {
    arrivals: mpsc::Receiver<Arrival>,
    open: HashMap<SocketAddr, Open>,
}

struct Open {
    peer: SocketAddr,
    queue: Arc<Queue>,
}

impl Tunnels {
    /// The next datagram, and the made-up address of its tunnel; none comes any more when the program ends.
    pub(crate) fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<(SocketAddr, Bytes)> {
        while let Poll::Ready(Some(arrival)) = self.arrivals.poll_recv(context) {
            if let Some(datagram) = self.take(arrival) {
                return Poll::Ready(datagram);
            }
        }
        Poll::Pending
    }

    fn take(&mut self, arrival: Arrival) -> Option<(SocketAddr, Bytes)> {
        match arrival {
            Arrival::Opened { at, peer, queue } => drop(self.open.insert(at, Open { peer, queue })),
            Arrival::Closed { at } => drop(self.open.remove(&at)),
            Arrival::Datagram { at, datagram } => return Some((at, datagram)),
        }
        None
    }

    /// Sends a datagram to a tunnel; one that is closed loses it.
    pub(crate) fn send(&self, to: SocketAddr, datagram: &[u8], now: Instant) {
        if let Some(tunnel) = self.open.get(&to) {
            tunnel.queue.push(Bytes::copy_from_slice(datagram), now);
        }
    }

    /// Where the TCP connection of an open tunnel comes from.
    pub(crate) fn peer(&self, at: SocketAddr) -> Option<SocketAddr> {
        self.open.get(&at).map(|tunnel| tunnel.peer)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Waker};

    use super::*;

    fn numbered(number: u64) -> Bytes {
        Bytes::copy_from_slice(&number.to_be_bytes())
    }

    #[test]
    fn made_up_addresses_are_told_from_all_others() {
        assert_ne!(made_up(1), made_up(2));
        assert!([0, 1, u64::MAX].iter().all(|number| is_made_up(made_up(*number))));
        for other in ["[100:0:0:1::]:1", "[fd00::1]:1", "[::ffff:1.0.0.0]:1", "1.0.0.0:1", "[2001:db8::]:1"] {
            assert!(!is_made_up(other.parse().unwrap()), "{other}");
        }
    }

    #[test]
    fn what_has_waited_for_sixty_milliseconds_is_dropped() {
        let (queue, start) = (Queue::default(), Instant::now());
        for number in 0..10 {
            queue.push(numbered(number), start + Duration::from_millis(10 * number));
        }
        let left: Vec<Bytes> = std::iter::from_fn(|| queue.pop(start + Duration::from_millis(100))).collect();
        assert_eq!(left, (4..10).map(numbered).collect::<Vec<_>>());
    }

    #[test]
    fn a_flood_leaves_the_newest() {
        let (queue, now) = (Queue::default(), Instant::now());
        for number in 0..10_000 {
            queue.push(numbered(number), now);
        }
        let left: Vec<Bytes> = std::iter::from_fn(|| queue.pop(now)).collect();
        assert_eq!(left, (10_000 - MAX_WAITING as u64..10_000).map(numbered).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn datagrams_go_both_ways_until_the_tunnel_is_closed() {
        let (entrance, mut tunnels) = channel();
        let peer = "192.0.2.1:4000".parse().unwrap();
        let (sender, receiver) = entrance.open(peer).await.unwrap();
        sender.send(numbered(1)).await.unwrap();
        let (at, datagram) = poll_fn(|context| tunnels.poll_receive(context)).await;
        assert_eq!((tunnels.peer(at), datagram), (Some(peer), numbered(1)));

        tunnels.send(at, &numbered(2), Instant::now());
        assert_eq!(receiver.next().await, numbered(2));

        sender.close().await;
        assert!(tunnels.poll_receive(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(tunnels.peer(at), None);
    }
}
