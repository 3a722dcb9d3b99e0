//! Bodies: what we answer with, and reading what was sent.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    StatusCode,
    body::{Body, Frame, Incoming, SizeHint},
};
use tokio::sync::mpsc;

use super::problem::Problem;

/// The longest body that is read.
const MAX: usize = 16 * 1024;
const IN_TIME: Duration = Duration::from_secs(10);

/// The body of an answer.
pub(super) enum Answer {
    Whole(Full<Bytes>),
    Stream(mpsc::Receiver<Bytes>),
}

impl From<String> for Answer {
    fn from(text: String) -> Self {
        Self::Whole(Full::from(text))
    }
}

impl From<&'static str> for Answer {
    fn from(text: &'static str) -> Self {
        Self::Whole(Full::from(text))
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(full) => Pin::new(full).poll_frame(cx),
            Self::Stream(pieces) => pieces.poll_recv(cx).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(full) => full.is_end_stream(),
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(full) => full.size_hint(),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// Reads a request's body, if it is short and comes soon.
pub(super) async fn read(body: Incoming) -> Result<Bytes, Problem> {
    if body.size_hint().lower() > MAX as u64 {
        return Err(too_large());
    }
    match tokio::time::timeout(IN_TIME, Limited::new(body, MAX).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(Problem::malformed(format!("the body broke off: {error}"))),
        Err(_) => {
            let detail = format!("the body did not come within {} s", IN_TIME.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "slow-body", detail).and_close())
        }
    }
}

fn too_large() -> Problem {
    let detail = format!("a body has at most {MAX} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail).and_close()
}
