//! Who speaks into a puncher's voice lane, and who listens to it.

use std::{
    io::{Read, Write},
    process::{ChildStdin, ChildStdout},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use wire::{
    agent::{MAX_RECORD, Peers, VoiceRecord},
    datagram::{RELAY_DOWN, RELAY_UP},
    frame, relay,
    voice::{Flags, Frame, MediaTime, Voice},
};

use super::{
    member::{Joining, Member},
    program::PATIENCE,
};
use crate::lab::{Lab, Passed};

/// As a microphone has it.
const FRAME: Duration = Duration::from_millis(10);
/// So many frames were before: numbers are as long as some minutes into a call.
const BEFORE: u32 = 20_000;
/// Bytes of Opus in each frame: 40 kb/s.
pub(super) const OPUS: usize = 50;

/// Bytes that a packet with one frame may have besides, sealed; whatever else members send each other is longer or shorter.
const AROUND: usize = 60;

/// A member that speaks and listens all the time.
#[derive(Debug)]
pub(super) struct Talker {
    pub(super) member: Member,
    pub(super) heard: Heard,
    speaking: JoinHandle<()>,
}

impl Talker {
    /// Joins.
    pub(super) fn join(lab: &Lab, node: &str, channel: &str, name: &str) -> Result<Self> {
        let mut member = Member::join(lab, Joining::talking(node, channel, name))?;
        let heard = Heard::listen(member.program.stdout().context("a pipe")?);
        let speaking = speak(member.program.stdin().context("a pipe")?);
        Ok(Self { member, heard, speaking })
    }

    /// Leaves properly.
    pub(super) fn leave(self) -> Result<()> {
        self.member.leave()?;
        drop(self.speaking.join());
        Ok(())
    }
}

/// How a frame travels.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Leg {
    /// From member to member.
    Direct,
    /// To who relays.
    Up,
    /// From who relays.
    Down,
}

impl Leg {
    /// How a datagram travels, if it may be one with a frame in it.
    pub(super) fn of(passed: &Passed) -> Option<Self> {
        let (leg, header) = match passed.head[0] {
            RELAY_UP => (Self::Up, relay::UP_HEADER),
            RELAY_DOWN => (Self::Down, relay::DOWN_HEADER),
            _ => (Self::Direct, 0),
        };
        // Of QUIC, RFC 9000, section 17.3: a packet with a short header.
        let is_session = passed.head[header] & 0xc0 == 0x40;
        let has_frame = (OPUS..OPUS + AROUND).contains(&passed.len.saturating_sub(header));
        (is_session && has_frame).then_some(leg)
    }
}

/// Speaks a frame every 10 ms until nobody takes it.
pub(super) fn speak(mut stdin: ChildStdin) -> JoinHandle<()> {
    thread::spawn(move || {
        let start = Instant::now();
        for (n, seq) in (BEFORE..).zip((BEFORE as u16..=u16::MAX).cycle()) {
            let packet = Voice::Frame(Frame {
                stream: 1,
                seq,
                time: MediaTime(n * 4),
                flags: Flags::default(),
                level: 20,
                opus: &[0xfc; OPUS],
                copies: Vec::new(),
            });
            let record = VoiceRecord { peers: Peers::All, packet: packet.to_bytes() };
            if stdin.write_all(&frame::frame(&record)).is_err() {
                return;
            }
            thread::sleep((start + FRAME * (n + 1 - BEFORE)).saturating_duration_since(Instant::now()));
        }
    })
}

/// When each voice record came out of a lane.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Arc<(Mutex<Vec<Instant>>, Condvar)>);

impl Heard {
    /// Listens until the lane ends.
    pub(super) fn listen(mut stdout: ChildStdout) -> Self {
        let heard = Self::default();
        let it = heard.clone();
        thread::spawn(move || {
            let mut reader = frame::Reader::<VoiceRecord>::new("voice record", MAX_RECORD);
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = stdout.read(&mut buffer) {
                let now = Instant::now();
                reader.push(&buffer[..len]);
                while let Ok(Some(_)) = reader.next() {
                    it.note(now);
                }
            }
        });
        heard
    }

    fn note(&self, at: Instant) {
        let (times, came) = &*self.0;
        times.lock().unwrap_or_else(PoisonError::into_inner).push(at);
        came.notify_all();
    }

    /// When something was first heard after a moment.
    pub(super) fn first_after(&self, moment: Instant) -> Result<Instant> {
        let (times, came) = &*self.0;
        let times = times.lock().unwrap_or_else(PoisonError::into_inner);
        let is_missing = |times: &mut Vec<Instant>| times.last().is_none_or(|last| *last <= moment);
        let (times, _) = came.wait_timeout_while(times, PATIENCE, is_missing).unwrap_or_else(PoisonError::into_inner);
        times.iter().copied().find(|at| *at > moment).context("no voice came in time")
    }

    /// The longest silence of which a part is between two moments; without end if nothing was heard before or after.
    pub(super) fn longest_silence(&self, from: Instant, to: Instant) -> Duration {
        let times = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        longest_silence(&times, from, to)
    }
}

fn longest_silence(times: &[Instant], from: Instant, to: Instant) -> Duration {
    let (first, end) = (times.partition_point(|at| *at < from), times.partition_point(|at| *at <= to));
    let (Some(first), true) = (first.checked_sub(1), end < times.len()) else { return Duration::MAX };
    times[first..=end].windows(2).map(|two| two[1] - two[0]).max().unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_silence_is_the_one_that_touches_the_time() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let times = [0, 10, 90, 100, 110, 150, 160, 400].map(at);
        let silence = |from, to| longest_silence(&times, at(from), at(to)).as_millis();
        assert_eq!(silence(95, 155), 40);
        assert_eq!(silence(50, 155), 80, "it began before");
        assert_eq!(silence(95, 200), 240, "it ends after");
        assert_eq!(longest_silence(&times, at(95), at(400)), Duration::MAX, "it has not ended");
        assert_eq!(longest_silence(&times[2..], at(5), at(100)), Duration::MAX, "nothing was heard before");
    }
}
