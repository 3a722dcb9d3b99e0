//! What is to go out at once: many datagrams by one call of the system.

mod system;

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    ops::Range,
};

/// So many are sent by one call; more than that, and those that came first would wait for those that came last.
const FULL: usize = 64;
/// From so many on, datagrams to one address go to the system as one run (GSO).
const RUN: usize = 3;
/// The most that one run may have (UDP_MAX_SEGMENTS), and the most bytes of a datagram, with room for headers.
const MAX_RUN: usize = 64;
const MAX_RUN_BYTES: usize = 65_000;

/// Datagrams that are to go out; what can't is lost, as on the way.
pub(super) struct Outbox {
    waiting: Vec<Out>,
    /// Those that are not in the inbox.
    copied: Vec<u8>,
    runs: bool,
    /// Where [`Self::may_have_runs`] sorts.
    marks: Vec<u32>,
    headers: system::Headers,
}

/// One datagram.
#[derive(Clone, Debug)]
struct Out {
    to: SocketAddr,
    /// Follows from the address; seldom the same for two of them.
    mark: u32,
    at: Range<usize>,
    /// Whether it is in the inbox, or has been copied.
    in_inbox: bool,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self {
            waiting: Vec::with_capacity(2 * FULL),
            copied: Vec::new(),
            runs: system::HAS_RUNS,
            marks: Vec::with_capacity(2 * FULL),
            headers: system::Headers::default(),
        }
    }

    /// Adds a datagram that is in the inbox.
    pub(super) fn push_received(&mut self, to: SocketAddr, at: Range<usize>) {
        self.waiting.push(Out { to, mark: mark(to), at, in_inbox: true });
    }

    /// Adds a datagram.
    pub(super) fn push(&mut self, to: SocketAddr, datagram: &[u8]) {
        let start = self.copied.len();
        self.copied.extend_from_slice(datagram);
        self.waiting.push(Out { to, mark: mark(to), at: start..self.copied.len(), in_inbox: false });
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= FULL
    }

    /// Sends everything; gives how many could not be sent. The order is kept for each address, and not between them.
    pub(super) fn flush(&mut self, socket: &UdpSocket, inbox: &[u8]) -> usize {
        let may_have_runs = self.runs && self.may_have_runs();
        if may_have_runs {
            // What several members send to the same ones goes to each of these in one run.
            self.waiting.sort_by_key(|out| out.mark);
        }
        let bytes = |out: &Out| if out.in_inbox { &inbox[out.at.clone()] } else { &self.copied[out.at.clone()] };
        let (mut next, mut lost) = (0, 0);
        while next < self.waiting.len() {
            let waiting = &self.waiting[next..];
            let sent = if may_have_runs && self.runs {
                send_run_or_some(socket, &mut self.headers, waiting, bytes)
            } else {
                send_some(socket, &mut self.headers, waiting, bytes)
            };
            next += sent.done.max(1);
            lost += sent.lost;
            self.runs &= !sent.runs_refused;
        }
        self.waiting.clear();
        self.copied.clear();
        lost
    }

    /// Whether so many go to one address. Mostly none gets them, and then the order stays as it is.
    fn may_have_runs(&mut self) -> bool {
        if self.waiting.len() < RUN {
            return false;
        }
        self.marks.clear();
        self.marks.extend(self.waiting.iter().map(|out| out.mark));
        self.marks.sort_unstable();
        self.marks.windows(RUN).any(|marks| marks[0] == marks[RUN - 1])
    }
}

/// Equal addresses have equal marks; others differ mostly (Fibonacci hashing).
fn mark(to: SocketAddr) -> u32 {
    let host = match to.ip() {
        IpAddr::V4(ip) => u64::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits() as u64 ^ (ip.to_bits() >> 64) as u64,
    };
    ((host ^ (u64::from(to.port()) << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
}

/// Sends what stands in front: a run, or all up to the next run.
fn send_run_or_some<'a>(
    socket: &UdpSocket,
    headers: &mut system::Headers,
    waiting: &'a [Out],
    bytes: impl Fn(&'a Out) -> &'a [u8],
) -> Sent {
    let length = run_length(waiting);
    if length < RUN {
        return send_some(socket, headers, &waiting[..until_run(waiting)], bytes);
    }
    let run = &waiting[..length];
    match system::send_run(socket, run, &bytes) {
        Ok(()) => Sent::all(run.len()),
        Err(error) if is_full(&error) => Sent::none(run.len()),
        Err(error) => {
            tracing::debug!(%error, "Could not send a run of datagrams");
            let runs_refused = system::is_refusal_of_runs(&error);
            Sent { runs_refused, ..send_some(socket, headers, run, bytes) }
        }
    }
}

/// Sends what stands in front, each by itself.
fn send_some<'a>(
    socket: &UdpSocket,
    headers: &mut system::Headers,
    waiting: &'a [Out],
    bytes: impl Fn(&'a Out) -> &'a [u8],
) -> Sent {
    let each = &waiting[..waiting.len().min(FULL)];
    match system::send_each(socket, headers, each, bytes) {
        Ok(sent) => Sent::all(sent),
        Err(error) if is_full(&error) => Sent::none(each.len()),
        // Concerns the first, such as an address that there is no way to.
        Err(error) => {
            tracing::debug!(%error, "Could not send a datagram");
            Sent::none(1)
        }
    }
}

/// What became of those in front.
struct Sent {
    done: usize,
    /// How many of them were not sent.
    lost: usize,
    /// Whether runs are no use here.
    runs_refused: bool,
}

impl Sent {
    fn all(done: usize) -> Self {
        Self { done, lost: 0, runs_refused: false }
    }

    fn none(lost: usize) -> Self {
        Self { done: lost, lost, runs_refused: false }
    }
}

/// The socket is full: so it is for everything that waits.
fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// How many in front go to one address and are of one length, but for the last, which may be shorter.
fn run_length(waiting: &[Out]) -> usize {
    let Some(first) = waiting.first() else { return 0 };
    let size = first.at.len();
    if size == 0 {
        return 1;
    }
    let most = MAX_RUN.min(MAX_RUN_BYTES / size).max(1);
    let alike = |out: &&Out| out.to == first.to && out.at.len() == size;
    let length = waiting.iter().take(most).take_while(alike).count();
    match waiting.get(length) {
        Some(last) if length < most && last.to == first.to && (1..size).contains(&last.at.len()) => length + 1,
        _ => length,
    }
}

/// How many stand before the next run.
fn until_run(waiting: &[Out]) -> usize {
    let begins_run = |three: &[Out]| three.iter().all(|out| out.to == three[0].to) && run_length(three) >= RUN;
    waiting.windows(RUN).position(begins_run).unwrap_or(waiting.len())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A socket whose `recv` ends a test that waits for nothing.
    fn receiver() -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket
    }

    fn sender() -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    }

    fn outs(list: &[(u16, usize)]) -> Vec<Out> {
        let out = |(port, len): &(u16, usize)| {
            let to = ([127, 0, 0, 1], *port).into();
            Out { to, mark: mark(to), at: 0..*len, in_inbox: false }
        };
        list.iter().map(out).collect()
    }

    #[test]
    fn a_run_has_one_address_and_one_length_but_for_its_last() {
        for (list, length, before) in [
            (&[(1, 9), (1, 9), (1, 9)][..], 3, 0),
            (&[(1, 9), (1, 9), (1, 4), (1, 9)], 3, 0),
            (&[(1, 9), (1, 9), (1, 10)], 2, 3),
            (&[(1, 9), (2, 9), (2, 9), (2, 9)], 1, 1),
            (&[(1, 9), (2, 9), (1, 9), (2, 9)], 1, 4),
            (&[(1, 0), (1, 0), (1, 0)], 1, 3),
            (&[(1, 30_000), (1, 30_000), (1, 30_000)], 2, 3),
        ] {
            assert_eq!((run_length(&outs(list)), until_run(&outs(list))), (length, before), "{list:?}");
        }
        assert_eq!(run_length(&outs(&[(1, 9); 200])), MAX_RUN);
    }

    #[test]
    fn everything_arrives_in_its_order_whether_in_runs_or_not() {
        let socket = sender();
        let receivers = [(); 2].map(|()| receiver());
        let at = receivers.each_ref().map(|receiver| receiver.local_addr().unwrap());
        for runs in [true, false] {
            let mut outbox = Outbox::new();
            outbox.runs &= runs;
            let inbox: Vec<u8> = (0..=255).collect();
            outbox.push(at[1], b"first");
            for start in 0..100 {
                outbox.push_received(at[0], start..start + 20);
            }
            outbox.push_received(at[0], 0..3);
            outbox.push(at[1], b"last");
            assert_eq!(outbox.flush(&socket, &inbox), 0);

            let mut buffer = [0; 64];
            let mut next = |receiver: usize| {
                let len = receivers[receiver].recv(&mut buffer).unwrap();
                buffer[..len].to_vec()
            };
            for start in 0..100 {
                assert_eq!(next(0), inbox[start..start + 20]);
            }
            assert_eq!((next(0), next(1), next(1)), (vec![0, 1, 2], b"first".to_vec(), b"last".to_vec()));
        }
    }

    #[test]
    fn an_address_that_there_is_no_way_to_costs_only_its_own_datagrams() {
        let socket = sender();
        let receiver = receiver();
        let mut outbox = Outbox::new();
        let nowhere = "192.0.2.1:1".parse().unwrap(); // a socket on loopback has no way there
        for to in [nowhere, receiver.local_addr().unwrap(), nowhere] {
            outbox.push(to, b"x");
        }
        assert_eq!(outbox.flush(&socket, &[]), 2);
        assert_eq!(receiver.recv(&mut [0; 8]).unwrap(), 1);
    }
}
