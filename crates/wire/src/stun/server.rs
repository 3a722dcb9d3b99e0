//! What a server answers.

use std::net::SocketAddr;

use super::{
    BINDING, CHANGE_REQUEST, Change, Class, ERROR_CODE, Message, OTHER_ADDRESS, RESPONSE_ORIGIN, UNKNOWN_ATTRIBUTES,
    XOR_MAPPED_ADDRESS,
    encode::{finish, push_address, push_attribute, start},
    xor,
};

/// What a server that answers from several addresses says of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Places {
    /// From where the answer comes.
    pub origin: SocketAddr,
    /// From where it would come with both address and port changed.
    pub other: SocketAddr,
}

/// A whole Binding request: what alone a server answers.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a>(Message<'a>);

impl<'a> Question<'a> {
    /// Reads a datagram; what is no whole Binding request is to get silence.
    pub fn read(datagram: &'a [u8]) -> Option<Self> {
        let message = Message::decode(datagram).ok()?;
        (message.class == Class::Request && message.method == BINDING).then_some(Self(message))
    }

    /// From where else it wants its answer; `None` if that makes no sense.
    pub fn change(&self) -> Option<Change> {
        self.0.change_request()
    }

    /// The answer for who asked from `from`, or the error that names what the request must not have.
    pub fn answer(&self, from: SocketAddr, places: Option<Places>) -> Vec<u8> {
        match self.unknown(true) {
            unknown if unknown.is_empty() => self.success(from, places),
            unknown => self.refusal(&unknown),
        }
    }

    /// The answer of a server that can't change its address as it is asked to.
    pub fn refuse(&self) -> Vec<u8> {
        self.refusal(&self.unknown(false))
    }

    fn unknown(&self, can_change: bool) -> Vec<u16> {
        let mut unknown = self.0.unknown_attributes();
        unknown.retain(|kind| *kind != CHANGE_REQUEST || !can_change);
        unknown
    }

    fn success(&self, from: SocketAddr, places: Option<Places>) -> Vec<u8> {
        let mut out = start(Class::Success, self.0.transaction);
        let from = xor(SocketAddr::new(from.ip().to_canonical(), from.port()), self.0.transaction);
        push_address(&mut out, XOR_MAPPED_ADDRESS, from);
        if let Some(Places { origin, other }) = places {
            push_address(&mut out, RESPONSE_ORIGIN, origin);
            push_address(&mut out, OTHER_ADDRESS, other);
        }
        finish(&mut out, self.0.has_fingerprint);
        out
    }

    fn refusal(&self, unknown: &[u16]) -> Vec<u8> {
        let mut out = start(Class::Error, self.0.transaction);
        push_attribute(&mut out, ERROR_CODE, &[0, 0, 4, 20]);
        let listed: Vec<u8> = unknown.iter().flat_map(|kind| kind.to_be_bytes()).collect();
        push_attribute(&mut out, UNKNOWN_ATTRIBUTES, &listed);
        finish(&mut out, self.0.has_fingerprint);
        out
    }
}

/// What a server with one address answers to a datagram from `from`; `None` is silence.
pub fn answer(datagram: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
    let question = Question::read(datagram)?;
    let stays = question.change() == Some(Change::default());
    Some(if stays { question.answer(from, None) } else { question.refuse() })
}
