//! The steps of the UPnP conversation over HTTP: what each answer means, and what is asked next.

use std::{net::SocketAddrV4, time::Instant};

use crate::{
    address,
    asker::{Outcome, TOO_SHORT},
    http::{HttpError, Location},
    lease::{LIFETIME, Lease},
    reader::Response,
    soap::{self, Mapping, Service, XmlError},
    upnp::{EXCHANGE_TIMEOUT, Phase, Upnp},
};

/// Other ports that are tried if the one wished for is somebody else's.
const MAX_PORTS: u32 = 4;
/// Error codes of WANIPConnection:1, section 2.4.16.
const CONFLICT: u16 = 718;
const ONLY_PERMANENT: u16 = 725;

const NO_ADDRESS: &str = "the router names no address of its own: it has no connection, or is behind another NAT";

impl Upnp {
    pub(crate) fn answered(&mut self, response: &Response, now: Instant) -> Option<Outcome> {
        self.drop_exchange();
        let result = match self.phase.clone() {
            Phase::Describing(at) => self.described(response, &at, now),
            Phase::Addressing => self.addressed(response, now),
            Phase::Adding { external, lease_s, tries } => {
                return self.added(response, external, (lease_s, tries), now);
            }
            Phase::Deleting => {
                self.phase = Phase::Quiet;
                if let Some(why) = soap::fault(&response.body) {
                    tracing::debug!(%why, "The router did not delete the mapping");
                }
                Ok(())
            }
            Phase::Quiet | Phase::Searching { .. } | Phase::Holding => Ok(()),
        };
        result.err().and_then(|why| self.step_failed(&why, now))
    }

    fn described(&mut self, response: &Response, at: &Location, now: Instant) -> Result<(), String> {
        if response.status != 200 {
            return Err(HttpError::Status(response.status).to_string());
        }
        self.services = soap::services(&response.body, at).map_err(|error| error.to_string())?.into();
        self.ask_for_address(now);
        Ok(())
    }

    pub(crate) fn ask_for_address(&mut self, now: Instant) {
        let Some(service) = self.services.front() else { return };
        let request = service.external_address();
        self.phase = Phase::Addressing;
        self.begin(request, EXCHANGE_TIMEOUT, now);
    }

    fn addressed(&mut self, response: &Response, now: Instant) -> Result<(), String> {
        let ip = soap::argument(&response.body, "NewExternalIPAddress").map_err(|error| match error {
            // What miniupnpd says behind a carrier, and others without a connection.
            XmlError::Missing(_) => NO_ADDRESS.to_owned(),
            error => error.to_string(),
        })?;
        address::check(ip).map_err(|why| why.to_string())?;
        let port = self.lease.map_or(self.internal.port(), |lease| lease.external.port());
        let lease_s = u32::try_from(LIFETIME.as_secs()).unwrap_or(u32::MAX);
        self.add(SocketAddrV4::new(ip, port), lease_s, 0, now);
        Ok(())
    }

    fn add(&mut self, external: SocketAddrV4, lease_s: u32, tries: u32, now: Instant) {
        let Some(service) = self.services.front() else { return };
        let request = service.add(&Mapping {
            external_port: external.port(),
            internal_port: self.internal.port(),
            client: *self.internal.ip(),
            lease_s,
        });
        self.phase = Phase::Adding { external, lease_s, tries };
        self.begin(request, EXCHANGE_TIMEOUT, now);
    }

    fn added(
        &mut self,
        response: &Response,
        external: SocketAddrV4,
        (lease_s, tries): (u32, u32),
        now: Instant,
    ) -> Option<Outcome> {
        let port = match self.services.front().is_some_and(Service::chooses_port) {
            true => soap::argument(&response.body, "NewReservedPort"),
            false => soap::fault(&response.body).map_or(Ok(external.port()), Err),
        };
        match port {
            Err(XmlError::Fault(CONFLICT)) if tries < MAX_PORTS => {
                let other = SocketAddrV4::new(*external.ip(), self.other_port());
                self.add(other, lease_s, tries + 1, now);
                None
            }
            Err(XmlError::Fault(ONLY_PERMANENT)) if lease_s != 0 => {
                self.add(external, 0, tries, now);
                None
            }
            Err(why) => self.step_failed(&why.to_string(), now),
            Ok(0) => self.step_failed("the router mapped port 0", now),
            Ok(port) => {
                // One without an end is renewed like others: the router may have lost it.
                let Some(lease) = Lease::new(SocketAddrV4::new(*external.ip(), port), LIFETIME, now) else {
                    return self.step_failed(TOO_SHORT, now);
                };
                (self.lease, self.has_searched_anew) = (Some(lease), false);
                self.granted_by = self.services.front().cloned();
                self.phase = Phase::Holding;
                Some(Outcome::Granted(lease))
            }
        }
    }

    /// A port above those that systems reserve; Knuth's MMIX generator is random enough to dodge a conflict.
    fn other_port(&mut self) -> u16 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        1024 + u16::try_from((self.seed >> 33) % (65536 - 1024)).unwrap_or_default()
    }
}
