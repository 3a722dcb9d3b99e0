//! One request, sent again until it is answered or given up (RFC 8489, 6.2.1, with shorter times).

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use wire::stun::{self, Change, TransactionId};

/// Gaps after each sending of a request for a sample; after the last one it is given up. A lost datagram costs less than with
/// RFC 8489's 500 ms, and 2.2 s is as long as a person waits for a report.
const SAMPLE_GAPS: [Duration; 4] =
    [Duration::from_millis(200), Duration::from_millis(400), Duration::from_millis(800), Duration::from_millis(800)];
/// The same for a request whose silence says something: three of them lost by chance is rare, and the port that it keeps unasked
/// is wanted soon. The wait after the last one is [`silence`].
const PROBE_GAPS: [Duration; 3] = [Duration::from_millis(150), Duration::from_millis(150), Duration::ZERO];
/// The shortest wait for an answer to the last probe.
const SHORTEST_SILENCE: Duration = Duration::from_millis(250);

/// What a request is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    /// To learn where a place sees the socket.
    Sample,
    /// To learn whether another port of an address that was asked gets in.
    OtherPort,
    /// To learn whether another address gets in.
    OtherAddress,
    /// To learn whether the own outside address can be reached.
    Hairpin,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// It was answered: the address that the server saw, or that the probe came through.
    Answered(SocketAddr),
    /// The server can't do what it was asked to do.
    Refused,
    /// Nothing came.
    Silence,
}

/// One request.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) id: TransactionId,
    pub(crate) to: SocketAddr,
    pub(crate) purpose: Purpose,
    pub(crate) outcome: Option<Outcome>,
    /// When the outcome was known.
    pub(crate) ended: Option<Instant>,
    started: Instant,
    sent: usize,
    due: Instant,
}

impl Exchange {
    pub(crate) fn new(id: TransactionId, to: SocketAddr, purpose: Purpose, now: Instant) -> Self {
        Self { id, to, purpose, outcome: None, ended: None, started: now, sent: 0, due: now }
    }

    pub(crate) fn request(&self) -> Vec<u8> {
        match self.purpose {
            Purpose::Sample | Purpose::Hairpin => stun::request(self.id),
            Purpose::OtherPort => stun::request_elsewhere(self.id, Change { ip: false, port: true }),
            Purpose::OtherAddress => stun::request_elsewhere(self.id, Change { ip: true, port: true }),
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.outcome.is_none().then_some(self.due)
    }

    /// Tells whether the request is to be sent (again); gives up when it is time to. `rtt` is the longest round trip
    /// measured, `None` before the first answer.
    pub(crate) fn handle_timeout(&mut self, rtt: Option<Duration>, now: Instant) -> bool {
        if self.outcome.is_some() || now < self.due {
            return false;
        }
        let gaps = if self.purpose == Purpose::Sample { &SAMPLE_GAPS[..] } else { &PROBE_GAPS[..] };
        let Some(gap) = gaps.get(self.sent) else {
            (self.outcome, self.ended) = (Some(Outcome::Silence), Some(now));
            return false;
        };
        self.sent += 1;
        self.due = now + if gap.is_zero() { silence(rtt) } else { *gap };
        true
    }

    /// Notes the answer; tells how long it took if that is certain (Karn's rule: a repeated request may be answered twice).
    pub(crate) fn settle(&mut self, outcome: Outcome, now: Instant) -> Option<Duration> {
        (self.outcome, self.ended) = (Some(outcome), Some(now));
        (self.sent == 1).then(|| now.saturating_duration_since(self.started))
    }
}

/// How long silence has to last to mean something.
fn silence(rtt: Option<Duration>) -> Duration {
    rtt.map_or(SHORTEST_SILENCE * 2, |rtt| (rtt * 2).max(SHORTEST_SILENCE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sendings(purpose: Purpose) -> (Vec<u128>, u128) {
        #[allow(clippy::disallowed_methods, reason = "a test's time starts somewhere")]
        let start = Instant::now();
        let to = "192.0.2.1:3478".parse().unwrap();
        let mut exchange = Exchange::new(TransactionId([1; 12]), to, purpose, start);
        let (mut at, mut now) = (vec![], start);
        while let Some(due) = exchange.poll_timeout() {
            now = due;
            if exchange.handle_timeout(Some(Duration::from_millis(40)), now) {
                at.push((now - start).as_millis());
            }
        }
        assert_eq!(exchange.outcome, Some(Outcome::Silence));
        (at, (now - start).as_millis())
    }

    #[test]
    fn a_request_is_repeated_ever_more_rarely_and_then_given_up() {
        assert_eq!(sendings(Purpose::Sample), (vec![0, 200, 600, 1400], 2200));
        assert_eq!(sendings(Purpose::OtherPort), (vec![0, 150, 300], 550));
    }
}
