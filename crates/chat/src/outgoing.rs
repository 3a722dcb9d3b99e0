use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use wire::{MessageId, PeerTag, agent::Delivery};

/// How long `puncher` may take to settle a text: it waits 10 s for each peer, so more means that it is stuck.
pub const SETTLE_TIMEOUT: Duration = Duration::from_secs(15);

/// The texts that were sent and are not settled.
#[derive(Debug, Default)]
pub struct Outgoing {
    waiting: BTreeMap<MessageId, Waiting>,
    receipts: VecDeque<Receipt>,
}

#[derive(Debug)]
struct Waiting {
    until: Instant,
    reached: BTreeMap<PeerTag, Reached>,
}

impl Outgoing {
    /// Follows a text from here on.
    pub fn start(&mut self, id: MessageId, now: Instant) {
        self.waiting.insert(id, Waiting { until: now + SETTLE_TIMEOUT, reached: BTreeMap::new() });
    }

    /// Notes what became of a text for one peer. Other programs' texts are ignored.
    pub fn handle_delivery(&mut self, id: MessageId, to: PeerTag, name: &str, outcome: Delivery) {
        if let Some(waiting) = self.waiting.get_mut(&id) {
            let reached = waiting.reached.entry(to).or_insert(Reached { name: name.to_owned(), outcome });
            // Late good news beats early bad news, and never the reverse.
            if matches!(outcome, Delivery::Delivered(_)) {
                reached.outcome = outcome;
            }
        }
    }

    /// Notes that everybody a text was for has its delivery.
    pub fn handle_settled(&mut self, id: MessageId) {
        self.finish(id, true);
    }

    /// Gives up on what is overdue.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due: Vec<_> = self.waiting.iter().filter(|(_, waiting)| waiting.until <= now).map(|(id, _)| *id).collect();
        for id in due {
            self.finish(id, false);
        }
    }

    /// Gives up on everything: `puncher` has ended.
    pub fn close(&mut self) {
        for id in self.waiting.keys().copied().collect::<Vec<_>>() {
            self.finish(id, false);
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.values().map(|waiting| waiting.until).min()
    }

    /// The next text that is settled or given up.
    pub fn poll_receipt(&mut self) -> Option<Receipt> {
        self.receipts.pop_front()
    }

    /// Whether every text has its receipt.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.receipts.is_empty()
    }

    fn finish(&mut self, id: MessageId, settled: bool) {
        if let Some(Waiting { reached, .. }) = self.waiting.remove(&id) {
            self.receipts.push_back(Receipt { id, settled, reached: reached.into_values().collect() });
        }
    }
}

/// What became of a text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Receipt {
    /// Which text.
    pub id: MessageId,
    /// Whether `puncher` answered for everybody; if not, more may have it than are listed.
    pub settled: bool,
    /// What became of it for each peer, in the order of their tags.
    pub reached: Vec<Reached>,
}

/// What became of a text for one peer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reached {
    /// The peer's name: remote text.
    pub name: String,
    /// What became of it.
    pub outcome: Delivery,
}

/// A receipt in one word.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Everybody who is there has it.
    Delivered,
    /// Nobody is there.
    Nobody,
    /// Somebody does not have it, or may not.
    Incomplete,
}

impl Receipt {
    /// The receipt in one word.
    pub fn verdict(&self) -> Verdict {
        let nobody = self.reached.iter().all(|reached| reached.outcome == Delivery::Unknown);
        match (self.settled, self.failed().next()) {
            (false, _) => Verdict::Incomplete,
            _ if nobody => Verdict::Nobody,
            (true, Some(_)) => Verdict::Incomplete,
            (true, None) => Verdict::Delivered,
        }
    }

    /// Those who do not have it.
    pub fn failed(&self) -> impl Iterator<Item = &Reached> {
        self.reached.iter().filter(|reached| !matches!(reached.outcome, Delivery::Delivered(_)))
    }
}

impl Reached {
    /// What happened, to be read after the peer's name.
    pub fn why(&self) -> &'static str {
        match self.outcome {
            Delivery::Delivered(wire::peer::Keeper::Chat) => "has it",
            Delivery::Delivered(wire::peer::Keeper::Puncher) => "has it waiting",
            Delivery::Lost => "left before it arrived",
            Delivery::Unknown => "is not there",
            Delivery::TimedOut => "did not acknowledge it in time",
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::peer::Keeper;

    use super::*;

    const ID: MessageId = MessageId(7);
    const BOB: PeerTag = PeerTag(1);
    const CAROL: PeerTag = PeerTag(2);
    const KEPT: Delivery = Delivery::Delivered(Keeper::Chat);
    const WAITING: Delivery = Delivery::Delivered(Keeper::Puncher);

    #[expect(clippy::disallowed_methods, reason = "any start of the virtual time will do")]
    fn start() -> Instant {
        Instant::now()
    }

    fn settled(deliveries: &[(PeerTag, Delivery)]) -> Receipt {
        let mut outgoing = Outgoing::default();
        outgoing.start(ID, start());
        for (peer, outcome) in deliveries {
            outgoing.handle_delivery(ID, *peer, "somebody", *outcome);
        }
        assert_eq!(outgoing.poll_receipt(), None, "not before it is settled");
        outgoing.handle_settled(ID);
        let receipt = outgoing.poll_receipt().unwrap();
        assert!(outgoing.is_idle());
        receipt
    }

    #[test]
    fn a_text_is_delivered_when_everybody_has_it() {
        let rows: [(&[(PeerTag, Delivery)], Verdict); 7] = [
            (&[(BOB, KEPT), (CAROL, WAITING)], Verdict::Delivered),
            (&[(BOB, KEPT), (CAROL, Delivery::TimedOut)], Verdict::Incomplete),
            (&[(BOB, KEPT), (CAROL, Delivery::Unknown)], Verdict::Incomplete),
            (&[(BOB, Delivery::Lost)], Verdict::Incomplete),
            (&[(BOB, Delivery::Unknown)], Verdict::Nobody),
            (&[], Verdict::Nobody),
            (&[(BOB, Delivery::TimedOut), (BOB, KEPT), (BOB, Delivery::Lost)], Verdict::Delivered),
        ];
        for (deliveries, verdict) in rows {
            assert_eq!(settled(deliveries).verdict(), verdict, "{deliveries:?}");
        }
    }

    #[test]
    fn those_who_do_not_have_it_are_named() {
        let mut outgoing = Outgoing::default();
        outgoing.start(ID, start());
        outgoing.handle_delivery(ID, CAROL, "carol", Delivery::TimedOut);
        outgoing.handle_delivery(ID, BOB, "bob", KEPT);
        outgoing.handle_settled(ID);

        let receipt = outgoing.poll_receipt().unwrap();

        let failed: Vec<_> = receipt.failed().map(|reached| (reached.name.as_str(), reached.why())).collect();
        assert_eq!(failed, [("carol", "did not acknowledge it in time")]);
    }

    #[test]
    fn a_text_that_nobody_settles_is_given_up() {
        let start = start();
        let mut outgoing = Outgoing::default();
        outgoing.start(ID, start);
        outgoing.handle_delivery(ID, BOB, "bob", KEPT);
        assert_eq!(outgoing.poll_timeout(), Some(start + SETTLE_TIMEOUT));

        outgoing.handle_timeout(start + SETTLE_TIMEOUT - Duration::from_millis(1));
        assert_eq!(outgoing.poll_receipt(), None);
        outgoing.handle_timeout(start + SETTLE_TIMEOUT);

        let receipt = outgoing.poll_receipt().unwrap();
        assert_eq!((receipt.verdict(), receipt.reached.len()), (Verdict::Incomplete, 1));
        assert_eq!(outgoing.poll_timeout(), None);
    }

    #[test]
    fn the_end_of_puncher_gives_every_text_its_receipt() {
        let mut outgoing = Outgoing::default();
        outgoing.start(ID, start());
        outgoing.start(MessageId(8), start());
        outgoing.close();
        let verdicts: Vec<_> =
            std::iter::from_fn(|| outgoing.poll_receipt()).map(|receipt| receipt.verdict()).collect();
        assert_eq!(verdicts, [Verdict::Incomplete; 2]);
    }

    #[test]
    fn texts_of_other_programs_are_none_of_ours() {
        let mut outgoing = Outgoing::default();
        outgoing.handle_delivery(ID, BOB, "bob", KEPT);
        outgoing.handle_settled(ID);
        assert!(outgoing.is_idle());
    }
}
