//! When things happen, as data.

use std::time::Duration;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// When pings go to a candidate, from the start of a volley. Dense at first: the peer's own first ping opens its NAT at
/// about the same time as ours arrives there, so an early one is lost by bad luck and the next one passes.
pub(crate) const VOLLEY: &[Duration] = &[
    ms(0),
    ms(20),
    ms(45),
    ms(80),
    ms(130),
    ms(200),
    ms(300),
    ms(450),
    ms(650),
    ms(900),
    ms(1200),
    ms(1600),
    ms(2100),
    ms(2600),
    ms(3100),
];
/// The same to a peer that is far away: an answer takes longer than the gaps between a near volley's pings.
pub(crate) const VOLLEY_FAR: &[Duration] = &[
    ms(0),
    ms(40),
    ms(110),
    ms(170),
    ms(240),
    ms(340),
    ms(450),
    ms(650),
    ms(900),
    ms(1200),
    ms(1600),
    ms(2100),
    ms(2600),
    ms(3100),
];
/// To whom a round trip takes so long.
pub(crate) const FAR: Duration = ms(80);
/// The same to an address that is hardly it: in the network of a peer that is behind a NAT. Who is in the same network is
/// reached by the first ping, for nothing has to be opened.
pub(crate) const VOLLEY_ASIDE: &[Duration] = &[ms(0), ms(110), ms(300), ms(900), ms(2100)];
/// The same to such an address of a peer that is seen elsewhere than we are: only a VPN, or a network with several ways out,
/// makes it one.
pub(crate) const VOLLEY_ELSEWHERE: &[Duration] = &[ms(220), ms(450), ms(900), ms(2100)];
/// When a volley has failed: its last ping and a little time for the answer.
pub(crate) const VOLLEY_TIME: Duration = ms(3200);

/// The same for a later attempt; wide enough that both sides' attempts overlap though their clocks drift apart.
pub(crate) const RETRY: &[Duration] = &[ms(0), ms(50), ms(200), ms(800)];
/// When a later attempt has failed.
pub(crate) const RETRY_TIME: Duration = ms(1000);

/// When pings go through a relay that has come up: to measure it, for it works without. By then most volleys are over, and
/// where many meet at once, these are not in their way.
pub(crate) const RELAY_PLAN: &[Duration] = &[ms(250), ms(350), ms(550), ms(1000)];

/// Whether a ping of ours has crossed one of the peer's that came so long after it: then each met the other's router open, and
/// the answer is on its way.
pub(crate) fn has_crossed(after: Duration, round_trip: Duration) -> bool {
    (round_trip.mul_f64(0.35)..round_trip.mul_f64(0.8)).contains(&after)
}

/// How many pings of a volley a candidate gets once another one is confirmed: a better path may be among them, but it is
/// not worth more.
pub(crate) const PINGS_BESIDE: usize = 3;

/// How long to wait before the next attempt. Without chance in it, so that both sides, who learned of each other within a
/// round trip, stay in step: a NAT is open for the other's pings only for 30 s after our own.
pub(crate) fn backoff(round: u32) -> Duration {
    const FIRST: Duration = Duration::from_secs(5);
    const LAST: Duration = Duration::from_secs(300);
    FIRST.saturating_mul(1 << round.min(16)).min(LAST)
}

/// Pings ride with traffic this often, to measure the round trip.
pub(crate) const RIDE: Duration = Duration::from_secs(1);
/// A path in a call is kept open this often when nobody speaks. Linux forgets a one-way mapping after 30 s.
pub(crate) const KEEPALIVE_CALL: Duration = Duration::from_secs(15);
/// A path is kept open this often when there is no call.
pub(crate) const KEEPALIVE_IDLE: Duration = Duration::from_secs(25);
/// The second best path is kept open this often.
pub(crate) const KEEPALIVE_BACKUP: Duration = Duration::from_secs(25);
/// No traffic for so long is no call.
pub(crate) const CALL_ENDS: Duration = Duration::from_secs(60);

/// A ping that was not answered although other packets came is not repeated before this.
pub(crate) const REPEAT_HEARD: Duration = ms(500);

/// A peer that uses a relay, and not the direct path for so long, has left that. In a call there is a packet every 25 ms.
pub(crate) const LEFT_AFTER: Duration = ms(60);

/// When the selected path, of this round trip, owes an answer to what was sent: QUIC acknowledges a packet within 25 ms
/// of its arrival, so this much later either the packet or the answer is lost, or the path is dead. Until it is clear
/// which, traffic takes a second way as well, which costs nothing but its bytes.
pub(crate) fn suspicious_after(rtt: Option<Duration>) -> Duration {
    rtt.map_or(ms(300), |rtt| (rtt.mul_f64(1.25) + ms(65)).clamp(ms(100), ms(600)))
}

/// Nothing authentic for this long although something was due: the path is in doubt. RFC 7675 allows 30 s, which is too
/// long a silence in a conversation.
pub(crate) const DOUBT: Duration = ms(1500);
/// The same if packets come but no pings are answered: perhaps only our direction is dead.
pub(crate) const DOUBT_UNANSWERED: Duration = ms(4000);
/// A path that stays in doubt this much longer is lost.
pub(crate) const LOST_AFTER_DOUBT: Duration = ms(3500);

/// When to repeat a ping that was not answered, on a path of this round trip.
pub(crate) fn repeat(rtt: Option<Duration>) -> Duration {
    rtt.map_or(ms(300), |rtt| rtt.mul_f64(1.5).clamp(ms(300), ms(600)))
}

/// Makes the chance in the keepalives.
#[derive(Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From 0.9 to 1.1.
    pub(crate) fn factor(&mut self) -> f64 {
        // Knuth's MMIX constants; the high bits are good enough for spreading timers.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        0.9 + 0.2 * (self.0 >> 32) as f64 / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_ascend_and_end_before_they_are_given_up() {
        let volleys = [VOLLEY, VOLLEY_FAR, VOLLEY_ASIDE, VOLLEY_ELSEWHERE].map(|plan| (plan, VOLLEY_TIME));
        for (plan, time) in volleys.into_iter().chain([(RETRY, RETRY_TIME)]) {
            assert!(plan.is_sorted());
            assert!(plan[plan.len() - 1] < time);
        }
    }

    #[test]
    fn attempts_get_rarer_down_to_one_in_5_minutes() {
        let seconds = [0, 1, 2, 3, 4, 5, 6, 7, 1000].map(|round| backoff(round).as_secs());
        assert_eq!(seconds, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
    }

    #[test]
    fn jitter_stays_within_a_tenth() {
        let mut jitter = Jitter::new(1);
        let spread: Vec<_> = (0..1000).map(|_| jitter.factor()).collect();
        assert!(spread.iter().all(|factor| (0.9..=1.1).contains(factor)));
        assert!(spread.iter().any(|factor| *factor < 0.92) && spread.iter().any(|factor| *factor > 1.08));
    }
}
