//! Errors as problem documents (RFC 9457).

use hyper::{
    Response, StatusCode,
    header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};
use registry::CreateError;
use serde_json::json;

use super::body::Answer;
use crate::{directory::Closed, store::StoreError};

/// What went wrong with a request.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    /// Names the kind of problem for programs.
    kind: &'static str,
    /// Says it to people.
    pub(super) detail: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        Self { status, kind, detail: detail.into(), headers: Vec::new() }
    }

    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", detail)
    }

    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    pub(super) fn bad_name(error: &registry::NameError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-name", format!("the name is not acceptable: {error}"))
    }

    pub(super) fn no_capability() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "no-capability", "this needs the channel's capability as a bearer token")
            .with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    pub(super) fn method(allowed: &'static str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method", format!("only {allowed} here"))
            .with(ALLOW, HeaderValue::from_static(allowed))
    }

    pub(super) fn too_many(detail: impl Into<String>, after_seconds: u32) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many", detail).with(RETRY_AFTER, after_seconds.into())
    }

    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail).with(RETRY_AFTER, 5.into())
    }

    /// The rest of what was sent is not read.
    pub(super) fn and_close(self) -> Self {
        self.with(CONNECTION, HeaderValue::from_static("close"))
    }

    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn to_response(&self) -> Response<Answer> {
        let document = json!({
            "type": format!("urn:punchline:problem:{}", self.kind),
            "title": self.status.canonical_reason().unwrap_or("Problem"),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let mut response = Response::new(Answer::from(document.to_string() + "\n"));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        self.decorate(response)
    }

    /// Adds status and headers to a body that says the same in another form.
    pub(super) fn decorate(&self, mut response: Response<Answer>) -> Response<Answer> {
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.headers.iter().cloned());
        response
    }
}

impl From<Closed> for Problem {
    fn from(closed: Closed) -> Self {
        Self::unavailable(closed.to_string())
    }
}

impl From<CreateError> for Problem {
    fn from(error: CreateError) -> Self {
        let (status, kind) = match error {
            CreateError::Exists => (StatusCode::CONFLICT, "exists"),
            CreateError::LooksLike(_) => (StatusCode::CONFLICT, "looks-alike"),
            CreateError::JoinKey => (StatusCode::BAD_REQUEST, "join-key"),
            CreateError::Full(_) => (StatusCode::SERVICE_UNAVAILABLE, "full"),
        };
        Self::new(status, kind, error.to_string())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let (status, kind) = match error {
            StoreError::Exists => (StatusCode::CONFLICT, "exists"),
            StoreError::Unknown => (StatusCode::NOT_FOUND, "not-found"),
            StoreError::NotOwner => (StatusCode::FORBIDDEN, "forbidden"),
            StoreError::DiskFull => (StatusCode::INSUFFICIENT_STORAGE, "disk-full"),
            StoreError::Later(_) | StoreError::Damaged(_) | StoreError::Sqlite(_) | StoreError::Ended => {
                tracing::error!(%error, "The store did not do it");
                return Self::unavailable("the server can't reach its store");
            }
        };
        Self::new(status, kind, error.to_string())
    }
}
