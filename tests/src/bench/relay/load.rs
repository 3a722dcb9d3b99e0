//! Frames through a relay, as many as it takes, and what they cost it.

use std::{
    io::{IoSlice, IoSliceMut},
    net::UdpSocket,
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{
    ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmsg, setsockopt, sockopt::UdpGroSegment,
};

use crate::bench::{caller::Caller, usage::Pid};

/// What a frame carries: a voice frame, sealed.
pub(super) const PAYLOAD: usize = 160;
/// How long is measured in each turn, after a start that is not.
const MEASURED: Duration = Duration::from_millis(800);
const START: Duration = Duration::from_millis(100);
/// After so long there is nothing that sessions still have to say.
const SETTLED: Duration = Duration::from_millis(300);
/// A frame that has not come by then does not come.
const LOST: Duration = Duration::from_millis(50);
/// Frames a second when it is their delay that is measured.
const PACE: u32 = 10_000;

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// What each frame carries, in bytes.
    pub(super) payload: usize,
    /// How many frames each flow sends at once: more than one go to the system as a run (GSO), and come as such (GRO).
    pub(super) run: usize,
}

impl Shape {
    pub(super) const VOICE: Self = Self { payload: PAYLOAD, run: 1 };
    /// As of a file.
    pub(super) const LONG: Self = Self { payload: 1200, run: 1 };
    /// The same, many in a row.
    pub(super) const BULK: Self = Self { run: 32, ..Self::LONG };
}

/// One who sends the same frame again and again.
pub(super) struct Flow {
    /// Connected to the relay.
    pub(super) socket: UdpSocket,
    pub(super) frame: Vec<u8>,
}

impl Flow {
    fn send(&self, run: usize) -> Result<()> {
        if run == 1 {
            return self.socket.send(&self.frame).map(drop).context("send a frame");
        }
        let slices = vec![IoSlice::new(&self.frame); run];
        let size = [ControlMessage::UdpGsoSegments(&(self.frame.len() as u16))];
        sendmsg::<()>(self.socket.as_raw_fd(), &slices, &size, MsgFlags::empty(), None).context("send a run")?;
        Ok(())
    }
}

/// All who send through one relay, and all who get something.
pub(super) struct Load {
    pub(super) pid: Pid,
    pub(super) flows: Vec<Flow>,
    pub(super) receivers: Vec<UdpSocket>,
    /// How many get each frame.
    pub(super) copies: usize,
    /// Which receiver gets the frames of the first flow.
    pub(super) heard_by: usize,
    pub(super) shape: Shape,
    /// Whose sockets these are, where sessions are to be kept alive.
    pub(super) callers: Vec<Caller>,
}

impl Load {
    /// Lets sessions say what they have to say, so that they keep quiet after.
    pub(super) fn settle(&mut self) -> Result<()> {
        let end = Instant::now() + SETTLED;
        while !self.callers.is_empty() && Instant::now() < end {
            for caller in &mut self.callers {
                caller.turn(caller.socket.peer_addr()?)?;
            }
        }
        Ok(())
    }

    /// Deliveries per second of the relay's processor time. Each flow sends one frame, or one run, then all wait until these
    /// have come: nothing is lost for want of room.
    pub(super) fn deliveries(&self) -> Result<f64> {
        if self.shape.run > 1 {
            self.receivers
                .iter()
                .try_for_each(|socket| setsockopt(socket, UdpGroSegment, &true))
                .context("allow runs")?;
        }
        let mut drain = Drain::new(self.shape);
        self.rounds(START, &mut drain)?;
        let before = self.pid.run_time()?;
        let (came, sent) = self.rounds(MEASURED, &mut drain)?;
        let cpu = (self.pid.run_time()? - before).as_secs_f64();
        ensure!(came * 100 >= sent * 95, "{came} of {sent} frames came");
        Ok(came as f64 / cpu)
    }

    fn rounds(&self, time: Duration, drain: &mut Drain) -> Result<(usize, usize)> {
        let end = Instant::now() + time;
        let (mut came, mut sent) = (0, 0);
        while Instant::now() < end {
            for flow in &self.flows {
                flow.send(self.shape.run)?;
            }
            let expected = self.flows.len() * self.copies * self.shape.run;
            sent += expected;
            came += drain.until(&self.receivers, expected);
        }
        Ok((came, sent))
    }

    /// The 99th percentile of the delays of the first flow's frames, in microseconds.
    pub(super) fn delay_us(&self) -> Result<f64> {
        let (flow, receiver) = (&self.flows[0], &self.receivers[self.heard_by]);
        receiver.set_nonblocking(true)?;
        let gap = Duration::from_secs(1) / PACE;
        let (start, mut next) = (Instant::now(), Instant::now());
        let (mut frame, mut buffer) = (flow.frame.clone(), [0; 2048]);
        let stamp = frame.len() - 8;
        let (mut sent_frames, mut delays) = (0, Vec::new());
        while start.elapsed() < MEASURED {
            if Instant::now() >= next {
                frame[stamp..].copy_from_slice(&(start.elapsed().as_nanos() as u64).to_be_bytes());
                flow.socket.send(&frame).context("send a frame")?;
                next += gap;
                sent_frames += 1;
            }
            while let Ok(len) = receiver.recv(&mut buffer) {
                let Some(sent) = buffer[..len].last_chunk::<8>().filter(|_| len >= PAYLOAD) else { continue };
                let sent = Duration::from_nanos(u64::from_be_bytes(*sent));
                delays.push(start.elapsed().saturating_sub(sent).as_secs_f64() * 1e6);
            }
        }
        delays.sort_by(f64::total_cmp);
        ensure!(delays.len() * 100 >= sent_frames * 90, "{} of {sent_frames} frames came", delays.len());
        Ok(delays[delays.len() * 99 / 100])
    }
}

/// Takes what has come to many sockets.
struct Drain {
    headers: MultiHeaders<SockaddrIn>,
    bytes: Vec<u8>,
    /// Room for what comes at once: a frame, or a run.
    slot: usize,
    shape: Shape,
}

impl Drain {
    const AT_ONCE: usize = 32;

    fn new(shape: Shape) -> Self {
        let slot = if shape.run > 1 { 1 << 16 } else { 2048 };
        let (headers, bytes) = (MultiHeaders::preallocate(Self::AT_ONCE, None), vec![0; Self::AT_ONCE * slot]);
        Self { headers, bytes, slot, shape }
    }

    /// How many came, of those that are expected.
    fn until(&mut self, sockets: &[UdpSocket], expected: usize) -> usize {
        let (mut came, mut last) = (0, Instant::now());
        while came < expected && last.elapsed() < LOST {
            let before = came;
            came += sockets.iter().map(|socket| self.take(socket)).sum::<usize>();
            if came > before {
                last = Instant::now();
            }
        }
        came
    }

    fn take(&mut self, socket: &UdpSocket) -> usize {
        let mut slots: Vec<[IoSliceMut<'_>; 1]> =
            self.bytes.chunks_exact_mut(self.slot).map(|slot| [IoSliceMut::new(slot)]).collect();
        let received = recvmmsg(socket.as_raw_fd(), &mut self.headers, &mut slots, MsgFlags::MSG_DONTWAIT, None);
        // What the rendezvous says besides is shorter or longer than a frame, and shorter than a run.
        let Shape { payload, run } = self.shape;
        let frames = |len: usize| match len / payload {
            1 if len < payload + 16 => 1,
            several if run > 1 => several,
            _ => 0,
        };
        received.map_or(0, |received| received.map(|message| frames(message.bytes)).sum())
    }
}
