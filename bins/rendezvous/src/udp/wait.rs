//! What the loop waits for: datagrams, other tasks of the program, and time.

use std::{
    io,
    net::UdpSocket,
    os::fd::AsRawFd,
    sync::Arc,
    task::{Context, Wake, Waker},
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};

const SOCKET: Token = Token(0);
const TASKS: Token = Token(1);
/// A socket that takes nothing for so long takes nothing any more.
const ROOM_WITHIN: Duration = Duration::from_millis(100);

/// Watches the socket for datagrams, and not for room: after each one that is sent the system tells whoever watches for that,
/// and the loop would turn twice for each batch.
pub(super) struct Wait {
    poll: Poll,
    events: Events,
    bell: Waker,
    /// Whether there may be datagrams to receive. The system tells of each only once: it holds until none is left.
    pub(super) is_readable: bool,
    /// Whether other tasks may have something, likewise.
    pub(super) is_called: bool,
}

impl Wait {
    pub(super) fn new(socket: &UdpSocket) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), SOCKET, Interest::READABLE)?;
        let bell = Arc::new(Bell(mio::Waker::new(poll.registry(), TASKS)?)).into();
        Ok(Self { poll, events: Events::with_capacity(8), bell, is_readable: true, is_called: true })
    }

    /// Waits until then, or until something comes; not at all where something is left. Gives when that began.
    pub(super) fn until(&mut self, due: Option<Instant>) -> io::Result<Instant> {
        let now = Instant::now();
        let timeout = match self.is_readable || self.is_called {
            true => Some(Duration::ZERO),
            false => due.map(|due| due.saturating_duration_since(now)),
        };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(now),
            result => result?,
        }
        for event in &self.events {
            match event.token() {
                SOCKET => self.is_readable = true,
                _ => self.is_called = true,
            }
        }
        Ok(now)
    }

    /// For polling what other tasks are to give: when it is there, the wait ends.
    pub(super) fn context(&self) -> Context<'_> {
        Context::from_waker(&self.bell)
    }
}

/// Ends the wait.
struct Bell(mio::Waker);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Err(error) = self.0.wake() {
            tracing::warn!(%error, "Could not wake the UDP task");
        }
    }
}

/// Waits until the socket takes more.
pub(super) fn for_room(socket: &UdpSocket) -> io::Result<()> {
    let mut poll = Poll::new()?;
    poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), SOCKET, Interest::WRITABLE)?;
    let mut events = Events::with_capacity(1);
    poll.poll(&mut events, Some(ROOM_WITHIN))?;
    if events.is_empty() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;
    use crate::stop;

    /// Longer than anything takes that works.
    fn late() -> Option<Instant> {
        Some(Instant::now() + Duration::from_secs(20))
    }

    fn socket() -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    }

    /// Waits on a socket, in which nothing is left.
    fn wait(socket: &UdpSocket) -> Wait {
        Wait { is_readable: false, is_called: false, ..Wait::new(socket).unwrap() }
    }

    #[test]
    fn it_ends_when_a_datagram_has_come_and_not_because_one_was_sent() {
        let (socket, peer) = (socket(), socket());
        let mut wait = wait(&socket);
        for _ in 0..10 {
            socket.send_to(b"x", peer.local_addr().unwrap()).unwrap();
            for_room(&socket).unwrap();
        }
        wait.until(Some(Instant::now())).unwrap();
        assert!(!wait.is_readable && !wait.is_called);

        peer.send_to(b"y", socket.local_addr().unwrap()).unwrap();
        wait.until(late()).unwrap();
        assert!(wait.is_readable && !wait.is_called);
    }

    #[test]
    fn what_is_left_is_not_waited_for() {
        let socket = socket();
        let mut wait = Wait { is_readable: true, ..wait(&socket) };
        wait.until(None).unwrap();
        assert!(wait.is_readable);
    }

    #[test]
    fn it_ends_when_another_task_has_something() {
        let socket = socket();
        let (mut wait, (stopper, mut stop)) = (wait(&socket), stop::channel());
        let mut requested = pin!(stop.requested());
        assert!(requested.as_mut().poll(&mut wait.context()).is_pending());

        let other = std::thread::spawn(move || stopper.stop());
        wait.until(late()).unwrap();
        assert!(wait.is_called && !wait.is_readable);
        assert!(requested.as_mut().poll(&mut wait.context()).is_ready());
        other.join().unwrap();
    }
}
