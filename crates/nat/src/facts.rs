//! What a classifier knows, put together from the exchanges that have ended.

use std::net::{IpAddr, SocketAddr};

use wire::nat::{Filtering, MAX_SEEN, Mapping, NatFacts, Seen};

use crate::{
    Classifier, NEIGHBOURS,
    classifier::neighbour,
    exchange::{Outcome, Purpose},
    verdict::{self, Sample},
};

impl Classifier {
    /// Everything that is known so far.
    pub fn facts(&self) -> NatFacts {
        let all: Vec<_> = self.samples().map(|sample| sample.seen).collect();
        let (seen, poisoned) = self.without_poison(self.of_main_family(&all));
        let mapping = verdict::mapping(&seen);
        let ports = verdict::ports(&seen, self.config.port, mapping);
        NatFacts {
            translated: seen.iter().any(|seen| !self.is_own(seen.at.ip())),
            mapping,
            ports,
            filtering: self.filtering(),
            hairpin: self.outcome(Purpose::Hairpin).map(|outcome| matches!(outcome, Outcome::Answered(_))),
            poisoned,
            ipv6: all.iter().any(|seen| seen.at.is_ipv6()),
            mapped: self.mapped,
            seen: seen.into_iter().take(MAX_SEEN).collect(),
        }
    }

    /// The observations, in the order of the first requests.
    pub fn samples(&self) -> impl Iterator<Item = Sample> + '_ {
        let samples = self.exchanges.iter().filter(|exchange| exchange.purpose == Purpose::Sample);
        samples.enumerate().filter_map(|(order, exchange)| match exchange.outcome {
            Some(Outcome::Answered(at)) => Some(Sample { seen: Seen { by: exchange.to, at }, order }),
            _ => None,
        })
    }

    /// Places that were asked and did not answer, or have not yet.
    pub fn silent(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let samples = self.exchanges.iter().filter(|exchange| exchange.purpose == Purpose::Sample);
        samples.filter(|exchange| !matches!(exchange.outcome, Some(Outcome::Answered(_)))).map(|exchange| exchange.to)
    }

    /// IPv4 if anybody looked by IPv4: that is where NATs are.
    pub(crate) fn of_main_family(&self, seen: &[Seen]) -> Vec<Seen> {
        let has_v4 = seen.iter().any(|seen| seen.by.is_ipv4());
        seen.iter().copied().filter(|seen| seen.by.is_ipv4() == has_v4).collect()
    }

    /// Whether an address is the host's own.
    pub(crate) fn is_own(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.config.local.contains(&ip)
    }

    /// Takes out the sample that the probe before it has spoilt: the one place that sent unasked, and got no further than the
    /// router, is the one that sees another port. Tells whether that is so.
    fn without_poison(&self, mut seen: Vec<Seen>) -> (Vec<Seen>, Option<bool>) {
        let probed = neighbour(self.config.server, NEIGHBOURS);
        let spoilt = seen.iter().position(|seen| Some(seen.by) == probed);
        let (Some(spoilt), Some(Outcome::Silence)) = (spoilt, self.outcome(Purpose::OtherPort)) else {
            return (seen, None);
        };
        let sample = seen.remove(spoilt);
        if verdict::mapping(&seen) == Some(Mapping::Eim) && seen[0].at != sample.at {
            return (seen, Some(true));
        }
        seen.insert(spoilt, sample);
        (seen, Some(false))
    }

    fn filtering(&self) -> Option<Filtering> {
        let port = self.outcome(Purpose::OtherPort);
        match self.outcome(Purpose::OtherAddress) {
            Some(Outcome::Answered(_)) => Some(Filtering::Eif),
            _ => match port? {
                Outcome::Answered(_) => Some(Filtering::Adf),
                Outcome::Silence if self.means_something() => Some(Filtering::Apdf),
                Outcome::Silence | Outcome::Refused => None,
            },
        }
    }

    /// Whether the silence after a probe says something: only if the server was heard otherwise meanwhile.
    fn means_something(&self) -> bool {
        let heard = self.exchanges.iter().filter(|exchange| {
            let is_answered = matches!(exchange.outcome, Some(Outcome::Answered(_)));
            exchange.to.ip() == self.config.server.ip() && exchange.purpose == Purpose::Sample && is_answered
        });
        let heard = heard.filter_map(|exchange| exchange.ended).min();
        let probe = self.exchanges.iter().find(|exchange| exchange.purpose == Purpose::OtherPort);
        heard.zip(probe.and_then(|probe| probe.ended)).is_some_and(|(heard, given_up)| heard <= given_up)
    }
}
